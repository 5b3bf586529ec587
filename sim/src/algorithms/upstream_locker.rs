//! The registrations of the originals of our locker, and what is known to be wrong with them.

use fencepost::time::Span;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::{Fate, Property, Violation};
use fencepost_models::subject::Knot;
use fencepost_models::upstream::acyl_fake_locker::{FakeConfig, FakeLocker};
use fencepost_models::upstream::acyl_locker::{AcylConfig, AcylLocker};

use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    vec![Box::new(acyl_locker()), Box::new(acyl_fake_locker())]
}

/// What can happen between a process and its database over connections: nothing is doubled, and what is lost is lost with
/// the connection.
fn faults() -> FaultSet {
    FaultSet::of(&[
        Fault::Crash,
        Fault::Delay,
        Fault::CutToStore,
        Fault::CutFromStore,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::Cancel,
        Fault::ForgetUnlock,
    ])
}

fn acyl_locker() -> Registration<AcylLocker> {
    Registration::new("upstream/acyl-locker", "acyl's preemptive locker over PostgreSQL", acyl_config)
        .promises(&[
            Property::BelievedExclusion,
            Property::NoOrphan,
            Property::Progress,
            Property::PreemptionNoticed,
            Property::BoundedHold,
        ])
        .meets(faults())
        .suffers(FaultSet::of(&[Fault::CutToStore, Fault::ErrorBefore, Fault::ForgetUnlock]))
        .usually(AcylConfig::default())
        .plainer(plainer_acyl)
        .exhaustive(plans::acyl_locker(), plans::acyl_locker_cases)
        .known_defects(&[L1, L2, L4, L7, L3, L9, L5, L6])
}

/// The options that the original lets its users choose, fewer connections, callers who are in no hurry, and how often the
/// model looks. What is constant in the original stays, and every locker has room for the two connections that it needs.
fn plainer_acyl(config: &AcylConfig) -> Vec<AcylConfig> {
    let own = [config.lock_timeout, config.max_lock_duration, config.preemption_timeout, config.lock_delay];
    let all = options(own).flat_map(|([lock, max, preemption, delay], poll)| {
        let environments = [(config.room, config.pause), (6, config.pause), (6, Span::from_secs(60))];
        environments.map(|(room, pause)| AcylConfig {
            lock_timeout: lock,
            max_lock_duration: max,
            preemption_timeout: preemption,
            lock_delay: delay,
            poll,
            room,
            pause,
            ..config.clone()
        })
    });
    all.filter(|other| other != config).collect()
}

/// A lock timeout, a maximum duration, a preemption timeout and a lock delay.
type Options = [Span; 4];

/// These options and others that users may choose, each with polls that are seldom, but not so seldom that a model misses
/// what would happen in time.
fn options(own: Options) -> impl Iterator<Item = (Options, Span)> {
    let millis = |of: [u64; 4]| of.map(Span::from_millis);
    let others = [
        [20_000, 40_000, 10_000, 100],
        [10_000, 10_000, 4_000, 100],
        [8_000, 8_000, 2_000, 1_000],
        [2_000, 3_000, 1_000, 100],
    ];
    let polls = [500, 1_000, 2_000, 5_000].map(Span::from_millis);
    [own].into_iter().chain(others.map(millis)).flat_map(move |of| {
        let [lock, _, preemption, _] = of;
        polls
            .into_iter()
            .filter(move |poll| *poll * 2 <= preemption && *poll * 4 <= lock)
            .map(move |poll| (of, poll))
    })
}

/// Its defaults, but for a maximum that matters within a run, lock delays that let somebody hold, and few connections.
fn acyl_config(dice: &mut Dice) -> AcylConfig {
    AcylConfig {
        max_lock_duration: Span::from_secs(pick(dice, &[40, 60])),
        lock_delay: Span::from_secs(pick(dice, &[1, 1, 3, 10])),
        attentive: pick(dice, &[true, true, false]),
        room: pick(dice, &[12, 40]),
        ..AcylConfig::default()
    }
}

fn has(violation: &Violation, knot: Knot) -> bool {
    violation.facts.knot == Some(knot)
}

/// Whether all went as it was meant to, but perhaps for a connection that was kept, which costs nobody the lock.
fn is_untied(violation: &Violation) -> bool {
    violation.facts.knot.is_none() || has(violation, Knot::Leaked)
}

/// Whether somebody waits for a lock that another one has.
fn is_kept_out(violation: &Violation) -> bool {
    violation.property == Property::Progress && violation.other.is_some()
}

const L1: Defect = Defect {
    label: "L1",
    sentence: "nobody receives the message of a waiter, its unlock queues behind its own query, and gives back what it is told it has",
    breaks: &[Property::BelievedExclusion, Property::PreemptionNoticed, Property::BoundedHold],
    recognise: |violation| has(violation, Knot::Ghost),
};

const L2: Defect = Defect {
    label: "L2",
    sentence: "a holder that does not receive in time is unlocked, and never told",
    breaks: &[Property::BelievedExclusion, Property::BoundedHold, Property::PreemptionNoticed],
    recognise: |violation| has(violation, Knot::Dropped),
};

const L3: Defect = Defect {
    label: "L3",
    sentence: "after its first message nobody watches a holder: no release, no maximum, no word of a lost session",
    breaks: &[
        Property::BoundedHold,
        Property::BelievedExclusion,
        Property::PreemptionNoticed,
        Property::Progress,
    ],
    // Who holds and does not go keeps those out who wait, whatever they know.
    recognise: |violation| has(violation, Knot::Delivered) || is_kept_out(violation),
};

const L4: Defect = Defect {
    label: "L4",
    sentence: "a listener that connects again ends the goroutine: no preemption, no maximum, no word of a lost session",
    breaks: &[Property::PreemptionNoticed, Property::BoundedHold, Property::BelievedExclusion],
    recognise: |violation| has(violation, Knot::Nil),
};

const L5: Defect = Defect {
    label: "L5",
    sentence: "a notification that comes before its holder listens is never heard: the newest request loses",
    breaks: &[Property::PreemptionNoticed],
    recognise: is_untied,
};

const L6: Defect = Defect {
    label: "L6",
    sentence: "the server has dropped a session, its ping hangs for longer than the lock delay, and another one enters",
    breaks: &[Property::BelievedExclusion, Property::BoundedHold],
    // A lock that was not given back is lost with its session only, whatever has kept the ping.
    recognise: |violation| {
        let hangs = [Fault::CutToStore, Fault::CutFromStore, Fault::Delay];
        let lost = violation.property == Property::BelievedExclusion;
        is_untied(violation) && (lost || violation.facts.culprit.has_any(&hangs))
    },
};

const L7: Defect = Defect {
    label: "L7",
    sentence: "a connection whose unlock failed goes back to the pool, and owns the lock for as long as it lives",
    breaks: &[
        Property::NoOrphan,
        Property::Progress,
        Property::BelievedExclusion,
        Property::PreemptionNoticed,
    ],
    // Nothing else outlives whoever wanted it.
    recognise: |violation| violation.property == Property::NoOrphan || has(violation, Knot::Pooled),
};

const L9: Defect = Defect {
    label: "L9",
    sentence: "what fails to notify keeps its connection for ever, until there is none left",
    breaks: &[Property::Progress],
    recognise: |violation| violation.other.is_none(),
};

/// The fake provider: goroutines of one process share a slot, so that nothing is lost on the way; they may be slow.
fn acyl_fake_locker() -> Registration<FakeLocker> {
    Registration::new(
        "upstream/acyl-fake-locker",
        "acyl's preemptive locker over its fake provider",
        |dice| FakeConfig {
            max_lock_duration: Span::from_secs(pick(dice, &[40, 60])),
            lock_delay: Span::from_secs(pick(dice, &[1, 3])),
            ..FakeConfig::default()
        },
    )
    .promises(&[Property::BelievedExclusion, Property::OwnerOnlyRelease, Property::Progress])
    .meets(FaultSet::of(&[Fault::Pause, Fault::Cancel, Fault::ForgetUnlock, Fault::UnlockTwice]))
    .plainer(plainer_fake)
    .exhaustive(plans::acyl_fake_locker(), plans::acyl_fake_locker_cases)
    .known_defects(&[F1, F3, F4, F2])
}

/// As [`plainer_acyl`].
fn plainer_fake(config: &FakeConfig) -> Vec<FakeConfig> {
    let own = [config.lock_timeout, config.max_lock_duration, config.preemption_timeout, config.lock_delay];
    let all =
        options(own).map(|([lock_timeout, max_lock_duration, preemption_timeout, lock_delay], poll)| {
            FakeConfig { lock_timeout, max_lock_duration, preemption_timeout, lock_delay, poll }
        });
    all.filter(|other| other != config).collect()
}

const F1: Defect = Defect {
    label: "F1",
    sentence: "whoever waits keeps the mutex that the holder's unlock needs: a wait for a held lock never succeeds",
    breaks: &[Property::Progress],
    recognise: |_| true,
};

const F2: Defect = Defect {
    label: "F2",
    sentence: "a loser's release, a second unlock, or the end of an old maximum takes out the token of whoever holds",
    breaks: &[Property::OwnerOnlyRelease, Property::BelievedExclusion],
    recognise: |_| true,
};

const F3: Defect = Defect {
    label: "F3",
    sentence: "a message to one who has not locked yet ends in its unlock, which frees another one's lock",
    breaks: &[Property::OwnerOnlyRelease],
    recognise: |violation| has(violation, Knot::Ghost),
};

const F4: Defect = Defect {
    label: "F4",
    sentence: "an unlock of what was never locked waits, and eats the token of the next one who locks",
    breaks: &[Property::BelievedExclusion],
    // Its token was not taken out by anybody, its own goroutine neither: it was never there.
    recognise: |violation| violation.facts.fate == Fate::Natural && !has(violation, Knot::Dropped),
};
