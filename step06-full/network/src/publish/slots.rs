//! Lists in which each thing keeps its number as long as it is there, and what the
//! kernel is given of it.

pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, thing: T) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.slots[number] = Some(thing);
                number
            }
            None => {
                self.slots.push(Some(thing));
                self.slots.len() - 1
            }
        }
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.slots.get_mut(number)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<T> {
        let thing = self.slots.get_mut(number)?.take()?;
        self.free.push(number);
        Some(thing)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }
}

/// What the kernel tells of: a number that it keeps for us.
#[derive(Clone, Copy)]
pub(super) enum Token {
    Door(usize),
    Stream(usize, usize),
    Flow(usize),
}

impl Token {
    pub(super) fn number(self) -> u64 {
        let (index, kind) = match self {
            Token::Door(index) => (index, 0),
            Token::Flow(index) => (index, 1),
            Token::Stream(index, end) => (index, 2 + end),
        };
        u64::try_from(index << 2 | kind).expect("a usize has at most 64 bits")
    }

    pub(super) fn of(number: u64) -> Token {
        let number = usize::try_from(number).expect("it was a usize");
        match (number >> 2, number & 3) {
            (index, 0) => Token::Door(index),
            (index, 1) => Token::Flow(index),
            (index, end) => Token::Stream(index, end - 2),
        }
    }
}
