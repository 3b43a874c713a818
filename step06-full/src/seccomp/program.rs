//! How a filter is written: a program for the kernel's first BPF machine.

use libc::sock_filter;

/// A program for the kernel's BPF machine, written from its end to its
/// beginning: jumps lead forward only, so their targets are there already.
///
/// The machine has one register, takes one word of the call's description
/// (`struct seccomp_data`) into it, compares it with a constant, and answers.
#[derive(Default)]
pub struct Program(Vec<sock_filter>);

/// An instruction in a program, as its distance from the end.
pub type Label = usize;

/// How many instructions a comparison can skip: the distance is a byte.
const REACH: usize = 255;

impl Program {
    /// Ends the program with this answer.
    pub fn answer(&mut self, value: u32) -> Label {
        self.push(libc::BPF_RET | libc::BPF_K, value, 0, 0)
    }

    /// Takes the word at `offset`, then goes on with the instruction `next`.
    pub fn load(&mut self, offset: usize, next: Label) -> Label {
        self.lead_to(next);
        let code = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let offset = u32::try_from(offset).expect("within 64 bytes");
        self.push(code, offset, 0, 0)
    }

    /// Clears the bits of the word that are not in `mask`, then goes on with
    /// the instruction `next`.
    pub fn mask(&mut self, mask: u32, next: Label) -> Label {
        self.lead_to(next);
        let code = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
        self.push(code, mask, 0, 0)
    }

    /// Goes to `yes` if the word compares so with `value`, otherwise to `no`.
    pub fn branch(
        &mut self,
        comparison: u32,
        value: u32,
        yes: Label,
        no: Label,
    ) -> Label {
        let (yes, no) = (self.within_reach(yes), self.within_reach(no));
        let skip = |label: Label| {
            let instructions = self.0.len() - label - 1;
            u8::try_from(instructions).expect("it is within reach")
        };
        let (yes, no) = (skip(yes), skip(no));
        let code = libc::BPF_JMP | comparison | libc::BPF_K;
        self.push(code, value, yes, no)
    }

    /// Goes to `yes` if the word is one of `values`, otherwise to `no`.
    pub fn is_one_of(
        &mut self,
        values: &[u32],
        yes: Label,
        no: Label,
    ) -> Label {
        values
            .iter()
            .fold(no, |no, value| self.branch(libc::BPF_JEQ, *value, yes, no))
    }

    /// Goes to the answer that holds for the word: halves the table with one
    /// comparison, and its halves in turn. For sixty answers that is six
    /// comparisons; to go through the list would be thirty on average.
    pub fn search(&mut self, answers: &[(u32, Label)]) -> Label {
        if let [(_, answer)] = answers {
            return *answer;
        }
        let (lower, upper) = answers.split_at(answers.len() / 2);
        let (middle, _) = upper[0];
        let upper = self.search(upper);
        let lower = self.search(lower);
        self.branch(libc::BPF_JGE, middle, upper, lower)
    }

    /// The program in the order in which it runs.
    #[must_use]
    pub fn finish(mut self) -> Vec<sock_filter> {
        self.0.reverse();
        self.0
    }

    /// `label`, or a jump to it, if a comparison would not get that far. One
    /// instruction may still come in between: the other such jump.
    fn within_reach(&mut self, label: Label) -> Label {
        if self.0.len() - label < REACH {
            return label;
        }
        self.jump(label)
    }

    /// Sees to it that what is written next is followed by `label`.
    fn lead_to(&mut self, label: Label) {
        if label != self.0.len() - 1 {
            self.jump(label);
        }
    }

    /// Goes to `label`, however far it is.
    fn jump(&mut self, label: Label) -> Label {
        let instructions = self.0.len() - label - 1;
        let skip = u32::try_from(instructions).expect("a program is short");
        self.push(libc::BPF_JMP | libc::BPF_JA, skip, 0, 0)
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) -> Label {
        let code = u16::try_from(code).expect("codes have 16 bits");
        self.0.push(sock_filter { code, jt, jf, k });
        self.0.len() - 1
    }
}
