//! What a step of a trace does, in names that can be written down and that survive when other steps are left out.

use std::fmt::{self, Write as _};

use fencepost::store::StoreId;
use fencepost::time::Span;
use serde::{Deserialize, Serialize};

use crate::clock::Rate;
use crate::store::Grain;
use crate::subject::{Ask, InstanceId, Subject};
use crate::world::{Action, FlightId, LegKind, Service, World};

/// Instances by name: `A`, `B` … `Z`, `#26` …
pub(crate) mod instance {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::subject::InstanceId;

    pub(crate) fn serialize<S: Serializer>(id: &InstanceId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InstanceId, D::Error> {
        let name = String::deserialize(deserializer)?;
        InstanceId::named(&name).ok_or_else(|| Error::custom(format!("no instance is called {name:?}")))
    }
}

/// The same, where there may be none.
pub(crate) mod maybe_instance {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::subject::InstanceId;

    pub(crate) fn serialize<S: Serializer>(
        id: &Option<InstanceId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<InstanceId>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let id = InstanceId::named(&name);
        id.map(Some).ok_or_else(|| Error::custom(format!("no instance is called {name:?}")))
    }
}

/// Names a message by what can be seen of it, so that the name survives when other steps are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its sender, for a request or a write; its addressee, for a reply or a hint.
    #[serde(with = "instance")]
    pub who: InstanceId,
    /// Where it is going.
    pub leg: LegKind,
    /// The call, for requests and replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// How many like it were sent before it and are still under way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nth: u32,
}

/// What is left out where it is nothing.
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a step does: an [`Action`] in names that can be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is documented at the action of the same name")]
pub enum Deed {
    Ask {
        #[serde(with = "instance")]
        who: InstanceId,
        what: Ask,
    },
    Write {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Forget {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Wake {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Serve {
        message: Message,
        how: Service,
    },
    Deliver {
        message: Message,
    },
    Lose {
        message: Message,
    },
    Duplicate {
        message: Message,
    },
    Stall {
        message: Message,
    },
    GiveUp {
        message: Message,
    },
    Pause {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Suspend {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Resume {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Crash {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Restart {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Rejoin {
        #[serde(with = "instance")]
        who: InstanceId,
    },
    Rate {
        #[serde(with = "instance")]
        who: InstanceId,
        ppm: Rate,
    },
    Jump {
        #[serde(with = "instance")]
        who: InstanceId,
        nanos: i64,
    },
    CutToStore {
        #[serde(with = "instance")]
        who: InstanceId,
        cut: bool,
    },
    CutFromStore {
        #[serde(with = "instance")]
        who: InstanceId,
        cut: bool,
    },
    StorePause {
        store: u8,
    },
    StoreResume {
        store: u8,
    },
    StoreRestart {
        store: u8,
    },
    StoreRate {
        store: u8,
        ppm: Rate,
    },
    Lag {
        store: u8,
    },
    CatchUp {
        store: u8,
    },
    FailOver {
        store: u8,
    },
    Grain {
        store: u8,
        early: Span,
        late: Span,
    },
    WipeCounter {
        store: u8,
    },
    StoreJump {
        store: u8,
        nanos: i64,
    },
    Heal,
    End,
}

/// An action in names that can be written down. Call it before the action is applied.
pub fn describe<M: Subject>(world: &World<M>, action: &Action) -> Deed {
    let message = |id: FlightId| name_message(world, id);
    match *action {
        Action::Ask(who, what) => Deed::Ask { who, what },
        Action::Write(who) => Deed::Write { who },
        Action::Forget(who) => Deed::Forget { who },
        Action::Wake(who) => Deed::Wake { who },
        Action::Serve(id, how) => Deed::Serve { message: message(id), how },
        Action::Deliver(id) => Deed::Deliver { message: message(id) },
        Action::Lose(id) => Deed::Lose { message: message(id) },
        Action::Duplicate(id) => Deed::Duplicate { message: message(id) },
        Action::Stall(id) => Deed::Stall { message: message(id) },
        Action::GiveUp(id) => Deed::GiveUp { message: message(id) },
        Action::Pause(who) => Deed::Pause { who },
        Action::Suspend(who) => Deed::Suspend { who },
        Action::Resume(who) => Deed::Resume { who },
        Action::Crash(who) => Deed::Crash { who },
        Action::Restart(who) => Deed::Restart { who },
        Action::Rejoin(who) => Deed::Rejoin { who },
        Action::SetRate(who, ppm) => Deed::Rate { who, ppm },
        Action::Jump(who, nanos) => Deed::Jump { who, nanos },
        Action::CutToStore(who, cut) => Deed::CutToStore { who, cut },
        Action::CutFromStore(who, cut) => Deed::CutFromStore { who, cut },
        Action::StorePause(StoreId(store)) => Deed::StorePause { store },
        Action::StoreResume(StoreId(store)) => Deed::StoreResume { store },
        Action::StoreRestart(StoreId(store)) => Deed::StoreRestart { store },
        Action::StoreRate(StoreId(store), ppm) => Deed::StoreRate { store, ppm },
        Action::Lag(StoreId(store)) => Deed::Lag { store },
        Action::CatchUp(StoreId(store)) => Deed::CatchUp { store },
        Action::FailOver(StoreId(store)) => Deed::FailOver { store },
        Action::SetGrain(StoreId(store), Grain { early, late }) => Deed::Grain { store, early, late },
        Action::WipeCounter(StoreId(store)) => Deed::WipeCounter { store },
        Action::StoreJump(StoreId(store), nanos) => Deed::StoreJump { store, nanos },
        Action::Heal => Deed::Heal,
        Action::End => Deed::End,
    }
}

/// The action that a deed means in this world, if there is one.
pub fn resolve<M: Subject>(world: &World<M>, deed: &Deed) -> Option<Action> {
    let flight = |message: &Message| find_message(world, message);
    Some(match *deed {
        Deed::Ask { who, what } => Action::Ask(who, what),
        Deed::Write { who } => Action::Write(who),
        Deed::Forget { who } => Action::Forget(who),
        Deed::Wake { who } => Action::Wake(who),
        Deed::Serve { ref message, how } => Action::Serve(flight(message)?, how),
        Deed::Deliver { ref message } => Action::Deliver(flight(message)?),
        Deed::Lose { ref message } => Action::Lose(flight(message)?),
        Deed::Duplicate { ref message } => Action::Duplicate(flight(message)?),
        Deed::Stall { ref message } => Action::Stall(flight(message)?),
        Deed::GiveUp { ref message } => Action::GiveUp(flight(message)?),
        Deed::Pause { who } => Action::Pause(who),
        Deed::Suspend { who } => Action::Suspend(who),
        Deed::Resume { who } => Action::Resume(who),
        Deed::Crash { who } => Action::Crash(who),
        Deed::Restart { who } => Action::Restart(who),
        Deed::Rejoin { who } => Action::Rejoin(who),
        Deed::Rate { who, ppm } => Action::SetRate(who, ppm),
        Deed::Jump { who, nanos } => Action::Jump(who, nanos),
        Deed::CutToStore { who, cut } => Action::CutToStore(who, cut),
        Deed::CutFromStore { who, cut } => Action::CutFromStore(who, cut),
        Deed::StorePause { store } => Action::StorePause(StoreId(store)),
        Deed::StoreResume { store } => Action::StoreResume(StoreId(store)),
        Deed::StoreRestart { store } => Action::StoreRestart(StoreId(store)),
        Deed::StoreRate { store, ppm } => Action::StoreRate(StoreId(store), ppm),
        Deed::Lag { store } => Action::Lag(StoreId(store)),
        Deed::CatchUp { store } => Action::CatchUp(StoreId(store)),
        Deed::FailOver { store } => Action::FailOver(StoreId(store)),
        Deed::Grain { store, early, late } => Action::SetGrain(StoreId(store), Grain { early, late }),
        Deed::WipeCounter { store } => Action::WipeCounter(StoreId(store)),
        Deed::StoreJump { store, nanos } => Action::StoreJump(StoreId(store), nanos),
        Deed::Heal => Action::Heal,
        Deed::End => Action::End,
    })
}

fn name_message<M: Subject>(world: &World<M>, id: FlightId) -> Message {
    let Some(flight) = world.flight(id) else {
        return Message { who: InstanceId(0), leg: LegKind::Lost, call: None, nth: u32::MAX };
    };
    let (who, leg, call) = (flight.instance, flight.kind(), flight.call);
    let alike = world.flights().filter(|(_, other)| {
        other.instance == who && other.kind() == leg && other.call == call && other.serial < flight.serial
    });
    Message { who, leg, call: call.map(|call| format!("{call:?}")), nth: alike.count() as u32 }
}

fn find_message<M: Subject>(world: &World<M>, message: &Message) -> Option<FlightId> {
    let mut alike: Vec<_> = world
        .flights()
        .filter(|(_, flight)| flight.instance == message.who && flight.kind() == message.leg)
        .filter(|(_, flight)| match (&flight.call, &message.call) {
            (None, None) => true,
            (Some(call), Some(name)) => is_named(call, name),
            (None, Some(_)) | (Some(_), None) => false,
        })
        .map(|(id, flight)| (flight.serial, id))
        .collect();
    alike.sort_unstable();
    alike.get(message.nth as usize).map(|(_, id)| *id)
}

/// Whether the debug form of `value` is `name`, without making a string of it.
fn is_named(value: &impl fmt::Debug, name: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(name);
    write!(rest, "{value:?}").is_ok() && rest.0.is_empty()
}
