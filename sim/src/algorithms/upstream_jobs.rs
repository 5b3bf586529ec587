//! The registrations of the originals of our jobs, and what is known to be wrong with them.

use fencepost::time::Span;
use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::Property;
use fencepost_models::subject::{JobId, Knot};
use fencepost_models::upstream::plugin_api_job::{PluginApiJob, PluginApiJobConfig, Strategy};
use fencepost_models::upstream::plugin_api_once::{PluginApiOnce, PluginApiOnceConfig};

use super::{M10, clocks_differ, mattermost_faults};
use crate::algorithm::{Algorithm, Defect, Dice, Registration};
use crate::plans;
use crate::scenario::pick;

/// Every one of them.
pub(super) fn all() -> Vec<Box<dyn Algorithm>> {
    vec![Box::new(plugin_api_job()), Box::new(plugin_api_once())]
}

/// Reads of jobs are answered by a replica.
fn faults() -> FaultSet {
    let mut faults = mattermost_faults();
    faults.add(Fault::StaleRead);
    faults
}

fn plugin_api_job() -> Registration<PluginApiJob> {
    Registration::new("upstream/plugin-api-job", "Mattermost's plugin-api recurring job", job_config)
        .promises(&[
            Property::BelievedExclusion,
            Property::Progress,
            Property::OncePerOccurrence,
            Property::NoJobLost,
        ])
        .meets(faults())
        .exhaustive(plans::plugin_api_job(), plans::plugin_api_job_cases)
        .known_defects(&[J1, J2, J4, J3, J5])
}

fn job_config(dice: &mut Dice) -> PluginApiJobConfig {
    PluginApiJobConfig {
        interval: Span::from_secs(pick(dice, &[7, 20, 45])),
        strategy: pick(dice, &[Strategy::Interval, Strategy::RoundedInterval]),
        closes_inside: pick(dice, &[false, false, false, true]),
        ..PluginApiJobConfig::default()
    }
}

fn plugin_api_once() -> Registration<PluginApiOnce> {
    Registration::new("upstream/plugin-api-once", "Mattermost's plugin-api run-once scheduler", once_config)
        .promises(&[
            Property::Progress,
            Property::NoPanic,
            Property::OncePerOccurrence,
            Property::NoJobLost,
            Property::NotEarly,
        ])
        .meets(faults())
        .suffers_at_times(FaultSet::of(&[Fault::ReadsFail]))
        .exhaustive(plans::plugin_api_once(), plans::plugin_api_once_cases)
        .known_defects(&[O11, O9, O2, O1, O7, O6, O8, O4, O5, O3, M10])
}

fn once_config(dice: &mut Dice) -> PluginApiOnceConfig {
    PluginApiOnceConfig {
        cancels_by_key: pick(dice, &[false, true]),
        asks_inside: pick(dice, &[false, true]),
        without_key: pick(dice, &[None, None, None, None, None, None, None, Some(JobId(0))]),
        ..PluginApiOnceConfig::default()
    }
}

const J1: Defect = Defect {
    label: "J1",
    sentence: "a callback that has lost its mutex is not told, and another one begins beside it",
    breaks: &[Property::BelievedExclusion, Property::OncePerOccurrence],
    recognise: |violation| violation.property == Property::BelievedExclusion || violation.facts.beside,
};

const J2: Defect = Defect {
    label: "J2",
    sentence: "a run that was overtaken sets the time of the last one back, and the next one comes too soon",
    breaks: &[Property::OncePerOccurrence],
    recognise: |violation| violation.facts.overtaken,
};

const J3: Defect = Defect {
    label: "J3",
    sentence: "when the job ran last is not known to whoever reads a replica that lags, has lost its mutex, or comes after a save that failed",
    breaks: &[Property::OncePerOccurrence],
    recognise: |_| true,
};

const J4: Defect = Defect {
    label: "J4",
    sentence: "one wall clock says when the job ran last, another one when that is long ago; one that is ahead silences it",
    breaks: &[Property::OncePerOccurrence, Property::NoJobLost],
    recognise: clocks_differ,
};

const J5: Defect = Defect {
    label: "J5",
    sentence: "a close waits for whoever runs, on any server, and for ever if the callback itself closes",
    breaks: &[Property::Progress, Property::NoJobLost],
    recognise: |_| true,
};

const O1: Defect = Defect {
    label: "O1",
    sentence: "a callback has run, or died, its record is still there, and it runs again",
    breaks: &[Property::OncePerOccurrence],
    recognise: |_| true,
};

const O2: Defect = Defect {
    label: "O2",
    sentence: "a callback has run, a replica that lags still has its record, and it runs again; or its mutex was lost",
    breaks: &[Property::OncePerOccurrence],
    recognise: |violation| violation.facts.beside || violation.facts.culprit.has(Fault::StaleRead),
};

const O3: Defect = Defect {
    label: "O3",
    sentence: "the timer of an old schedule deletes the record of the new one",
    breaks: &[Property::NoJobLost],
    recognise: |_| true,
};

const O4: Defect = Defect {
    label: "O4",
    sentence: "a job that is scheduled beside its old timer is not started, and to cancel it is to wait for ever",
    breaks: &[Property::Progress, Property::NoJobLost],
    recognise: |violation| violation.facts.knot == Some(Knot::Nothing),
};

const O5: Defect = Defect {
    label: "O5",
    sentence: "the fourth read that fails deletes a job that has not run",
    breaks: &[Property::NoJobLost],
    recognise: |violation| violation.facts.given_up,
};

const O6: Defect = Defect {
    label: "O6",
    sentence: "whoever cancels a job that waits for its mutex waits for the job, which waits for the canceller",
    breaks: &[Property::Progress, Property::NoJobLost],
    recognise: |violation| violation.facts.knot == Some(Knot::Holder),
};

const O7: Defect = Defect {
    label: "O7",
    sentence: "a callback that asks about its own job waits for itself, and all callbacks of its server with it",
    breaks: &[Property::Progress, Property::NoJobLost],
    recognise: |violation| violation.facts.knot == Some(Knot::Callback),
};

const O8: Defect = Defect {
    label: "O8",
    sentence: "two who cancel what runs on the other's server wait for each other",
    breaks: &[Property::Progress, Property::NoJobLost],
    recognise: |violation| violation.facts.knot == Some(Knot::Table),
};

const O9: Defect = Defect {
    label: "O9",
    sentence: "to cancel a job by an empty key crashes the process",
    breaks: &[Property::NoPanic],
    recognise: |_| true,
};

const O11: Defect = Defect {
    label: "O11",
    sentence: "a server whose clock is ahead runs a job early, for all",
    breaks: &[Property::NotEarly],
    recognise: |_| true,
};
