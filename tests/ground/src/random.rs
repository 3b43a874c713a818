/// Random numbers that need not be good: xorshift64.
pub struct Random(u64);

impl Random {
    /// Of the same seed come the same numbers.
    pub fn new(seed: u64) -> Random {
        // Zero would stay zero.
        Random(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// The index of one of so many.
    pub fn index(&mut self, count: usize) -> usize {
        let index = self.below(count as u64);
        index.try_into().expect("it is smaller than a usize")
    }
}
