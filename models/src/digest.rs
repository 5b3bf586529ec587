//! The rolling hash of a run: the same on every machine, build profile and thread count.

use std::hash::{Hash, Hasher};

/// A 64-bit rolling hash. It hashes values, never layouts: every integer is widened to 64 bits first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The hash of nothing.
    pub const fn new() -> Digest {
        Digest(0x243f_6a88_85a3_08d3)
    }

    /// Adds one word.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(0x1319_8a2e_0370_7344);
    }

    /// The hash so far.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// The hash of one value.
    pub fn of(value: &impl Hash) -> u64 {
        let mut digest = Digest::new();
        value.hash(&mut digest);
        digest.0
    }
}

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

/// A fingerprint of a value: the same on every machine, as a [`Digest`] is, and sooner taken.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint {
    /// Words go to both in turns, so that no product has to wait for the one before it.
    sums: [u64; 2],
}

impl Fingerprint {
    /// That of nothing.
    pub const fn new() -> Fingerprint {
        Fingerprint { sums: [0x243f_6a88_85a3_08d3, 0xa409_3822_299f_31d0] }
    }

    /// Adds one word.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let [one, two] = self.sums;
        self.sums = [two, product(one ^ word).wrapping_add(word)];
    }

    /// The fingerprint so far.
    #[inline]
    pub fn value(&self) -> u64 {
        let [one, two] = self.sums;
        product(product(one) ^ two.rotate_left(32))
    }
}

/// Both halves of a product, in one word.
#[inline]
fn product(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15_u128;
    product as u64 ^ (product >> 64) as u64
}

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint::new()
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.value()
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }
    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }
    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }
    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }
    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
    #[inline]
    fn write_isize(&mut self, value: isize) {
        self.word(value as i64 as u64);
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }
    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }
    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.word(value as i64 as u64);
    }
}
