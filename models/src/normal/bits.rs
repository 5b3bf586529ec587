//! Sets of names that fit a word, so that a checker compares them at once.

use fencepost::time::Span;

use crate::world::parts;

use super::NOON;
use super::names::Names;

/// A set of names, one bit for each, in fields of which each has room for one more than it may hold. The numbers of most
/// names are their ranks: then the bits of their field begin at its end and leave none out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Bits(pub(crate) u128);

impl Bits {
    /// How many revisions, store times, incarnations and acquisitions of one instance, and attempts of one incarnation.
    const WIDTHS: [u32; 5] = [15, 7, 4, 6, 4];
    const INSTANCES: u32 = 3;
    /// Where the fields of each kind begin.
    const STARTS: [u32; 5] = {
        let [revisions, since, incarnations, acquisitions, _] = Bits::WIDTHS;
        let (after_since, each) = (revisions + since + 2, incarnations + 1);
        let after_incarnations = after_since + each * Bits::INSTANCES;
        let after_acquisitions = after_incarnations + (acquisitions + 1) * Bits::INSTANCES;
        [0, revisions + 1, after_since, after_incarnations, after_acquisitions]
    };
    /// The present is a store time that is always there.
    pub(crate) const PRESENT: Bits = Bits(1 << Bits::STARTS[1]);
    /// The last bit of each field.
    const ENDS: u128 = {
        let (mut ends, mut kind) = (0, 0);
        while kind < 5 {
            let fields = match kind {
                0 | 1 => 1,
                4 => Bits::INSTANCES * Bits::WIDTHS[2],
                _ => Bits::INSTANCES,
            };
            let mut field = 0;
            while field < fields {
                ends |= 1 << (Bits::STARTS[kind] + field * (Bits::WIDTHS[kind] + 1));
                field += 1;
            }
            kind += 1;
        }
        ends
    };

    /// Adds the names of one field; says whether there is room for them.
    fn add(&mut self, kind: usize, field: u32, names: u64) -> bool {
        let width = Bits::WIDTHS[kind];
        self.0 |= u128::from(names) << (Bits::STARTS[kind] + field * (width + 1));
        names >> width == 0
    }

    /// Those that are their own ranks among these.
    pub(crate) fn ranked(self) -> Bits {
        Bits(self.0 & !(self.0 + Bits::ENDS))
    }

    pub(crate) fn or(self, other: Bits) -> Bits {
        Bits(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Bits) -> Bits {
        Bits(self.0 & !other.0)
    }

    pub(crate) fn has_none_of(self, other: Bits) -> bool {
        self.0 & other.0 == 0
    }

    /// Another set, for other uses of the same names.
    pub(crate) fn marked(self) -> Bits {
        Bits(self.0 | 1 << 127)
    }

    /// How many revisions there are.
    pub(crate) fn revisions(self) -> u64 {
        u64::from((self.0 & Bits::revisions_below(u64::MAX).0).count_ones())
    }

    /// The revisions below one.
    pub(crate) fn revisions_below(revision: u64) -> Bits {
        Bits((1 << revision.saturating_sub(1).min(u64::from(Bits::WIDTHS[0]))) - 1)
    }

    /// That revision alone, if there is room for it.
    pub(crate) fn revision(revision: u64) -> Option<Bits> {
        (1..=u64::from(Bits::WIDTHS[0])).contains(&revision).then(|| Bits(1 << (revision - 1)))
    }
}

impl Names {
    /// The names that were noted; none, if they are too many, or if there are times further than `far` ago.
    pub(super) fn bits(&self, far: Span) -> Option<Bits> {
        let mut bits = Bits::default();
        let is_recent = self.times.points.first().is_none_or(|&first| first + far.as_nanos() >= NOON);
        let all = [&self.revisions].into_iter().chain(&self.incarnations).chain(&self.acquisitions);
        let mut fits =
            is_recent && self.stamps.points.is_empty() && all.into_iter().all(|one| one.high.is_empty());
        fits &= bits.add(0, 0, self.revisions.low >> 1);
        for &time in &self.since.high {
            let age = NOON.saturating_sub(time);
            fits &= age < 63 && time <= NOON && bits.add(1, 0, 1 << age.min(63));
        }
        for (index, ranks) in self.incarnations.iter().enumerate() {
            fits &= bits.add(2, index as u32, ranks.low);
        }
        for (index, ranks) in self.acquisitions.iter().enumerate() {
            fits &= bits.add(3, index as u32, ranks.low);
        }
        for (identity, ranks) in &self.serials {
            fits &= match parts(*identity) {
                Some((id, incarnation)) if incarnation < Bits::WIDTHS[2] => {
                    bits.add(4, id.0 * Bits::WIDTHS[2] + incarnation, ranks.low) && ranks.high.is_empty()
                }
                Some(_) => false,
                None => ranks.low <= 1 && ranks.high.is_empty(),
            };
        }
        (fits && self.incarnations.len() <= Bits::INSTANCES as usize).then_some(bits)
    }
}
