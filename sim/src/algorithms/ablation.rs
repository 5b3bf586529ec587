//! An algorithm without one of its protections.

use fencepost_models::fault::{Fault, FaultSet};
use fencepost_models::property::Property;
use fencepost_models::subject::Subject;

use crate::algorithm::{Defect, Dice, Registration};

/// A protection, and what breaks without it.
pub(super) struct Ablation<P> {
    pub(super) protection: P,
    name: &'static str,
    about: &'static str,
    defect: Defect,
    /// What has to go wrong before it is missed; every storm over the ablation contains it.
    needs: &'static [Fault],
}

/// Without `protection`, an algorithm has this name and this line about it, and this defect.
pub(super) const fn ablation<P: Copy>(
    protection: P,
    [name, about]: [&'static str; 2],
    [label, sentence]: [&'static str; 2],
    breaks: &'static [Property],
) -> Ablation<P> {
    // Whatever it breaks, and it may break more than the property that tells its story, comes from what was taken away.
    let defect = Defect { label, sentence, breaks, recognise: |_| true };
    Ablation { protection, name, about, defect, needs: &[] }
}

impl<P: Copy> Ablation<P> {
    /// It is missed only where these go wrong.
    pub(super) const fn needs(self, faults: &'static [Fault]) -> Ablation<P> {
        Ablation { needs: faults, ..self }
    }

    pub(super) fn register<M: Subject>(
        &self,
        configure: impl Fn(&mut Dice) -> M::Config + Send + Sync + 'static,
    ) -> Registration<M> {
        Registration::new(self.name, self.about, configure)
            .suffers(FaultSet::of(self.needs))
            .known_defects(&[self.defect])
    }
}
