//! Formal languages and tasks of memory whose strings are generated: what is read, and what is to be told at which positions.
//!
//! Irie, Csordas and Schmidhuber 2023, "Practical computational power of linear transformers and their recurrent and self-referential
//! extensions"; tasks after Bhattamishra, Ahuja and Goyal 2020. Copy: Irie, Gopalakrishnan and Schmidhuber 2024, section 4 ("Exploring the
//! promise and limits of real-time recurrent learning"). Recall: the T-maze of Bakker 2002 ("Reinforcement learning with long short-term
//! memory"), without the acting. Associative recall: after Arora et al. 2024 ("Zoology: Measuring and improving recall in efficient language
//! models"), with every key asked for once, behind all pairs.

/// Generated strings: two windows of lengths that choices are made by, and one that is looked at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generated {
    /// The language.
    pub task: Task,
    /// Shortest and longest string of training and validation.
    pub length: [u64; 2],
    /// Shortest and longest string of the part `longer`.
    pub longer: [u64; 2],
    /// Shortest and longest string of the test part.
    pub far: [u64; 2],
    /// Strings to train on.
    pub examples: u64,
    /// Most strings of each other part.
    pub held_out: u64,
    /// Of associative recall: keys, and as many values.
    pub pairs: u64,
    /// Of associative recall: how often each key is written, every time with another value.
    pub writes: u64,
}

impl Generated {
    /// How many pairs there are where nothing says it.
    pub const PAIRS: u64 = 8;

    /// Number of symbols, padding included. Of associative recall the keys come first, then the values.
    pub fn symbols(&self) -> u64 {
        match self.task {
            Task::AssociativeRecall => 2 * self.pairs + 1,
            task => task.alphabet().len() as u64 + 1,
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> u64 {
        match self.task {
            Task::AssociativeRecall => self.pairs,
            Task::AnBn => 3,
            Task::AnBnCn | Task::Shuffle2 => 4,
            _ => 2,
        }
    }

    /// How a symbol is written; the padding not at all.
    pub fn written(&self, symbol: u64) -> Option<String> {
        match self.task {
            Task::AssociativeRecall if symbol < self.pairs => Some(format!("k{symbol}")),
            Task::AssociativeRecall if symbol < 2 * self.pairs => Some(format!("v{}", symbol - self.pairs)),
            task => task.alphabet().chars().nth(usize::try_from(symbol).ok()?).map(String::from),
        }
    }
}

/// A formal language or a task of memory, with its labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Bits; whether the ones so far are even in number.
    Parity,
    /// `(aa)*`; whether the prefix is in the language.
    AaStar,
    /// `(abab)*`; whether the prefix is in the language.
    AbabStar,
    /// a^n b^n; what may come next.
    AnBn,
    /// a^n b^n c^n; what may come next.
    AnBnCn,
    /// Two kinds of brackets, each balanced by itself; which of them may be closed.
    Shuffle2,
    /// Balanced brackets; whether one may be closed.
    Dyck1,
    /// A prefix of balanced brackets, a reset, balanced brackets; whether one opened since the reset may be closed.
    ResetDyck1,
    /// Bits, then as many blanks; at the blanks, the bits in their order. Nothing is told before.
    Copy,
    /// A sign, a corridor, a junction: at the junction, which of the two signs it was. Nothing is told before.
    Recall,
    /// Keys, each with a value behind it; then every key once more, in another order: at these, the value that was last behind the key.
    /// Nothing is told before.
    AssociativeRecall,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 11] = [
        Task::Parity,
        Task::AaStar,
        Task::AbabStar,
        Task::AnBn,
        Task::AnBnCn,
        Task::Shuffle2,
        Task::Dyck1,
        Task::ResetDyck1,
        Task::Copy,
        Task::Recall,
        Task::AssociativeRecall,
    ];

    /// The word in the language.
    pub fn name(self) -> &'static str {
        match self {
            Task::Parity => "parity",
            Task::AaStar => "aa_star",
            Task::AbabStar => "abab_star",
            Task::AnBn => "a_n_b_n",
            Task::AnBnCn => "a_n_b_n_c_n",
            Task::Shuffle2 => "shuffle_2",
            Task::Dyck1 => "dyck_1",
            Task::ResetDyck1 => "reset_dyck_1",
            Task::Copy => "copy",
            Task::Recall => "recall",
            Task::AssociativeRecall => "associative_recall",
        }
    }

    /// The task of a name.
    pub fn named(name: &str) -> Option<Task> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// How the symbols are written, in the order of their numbers; nothing where their number is not fixed. One more number stands for
    /// padding.
    fn alphabet(self) -> &'static str {
        match self {
            Task::Parity => "01",
            Task::AaStar => "a",
            Task::AbabStar | Task::AnBn => "ab",
            Task::AnBnCn => "abc",
            Task::Shuffle2 => "()[]",
            Task::Dyck1 => "()",
            Task::ResetDyck1 => "()1",
            Task::Copy => "01_",
            Task::Recall => "01-T",
            Task::AssociativeRecall => "",
        }
    }

    /// Every string's length is a multiple of this.
    pub fn step(self) -> u64 {
        match self {
            Task::Parity | Task::ResetDyck1 | Task::Recall | Task::AssociativeRecall => 1,
            Task::AaStar | Task::AnBn | Task::Copy | Task::Dyck1 | Task::Shuffle2 => 2,
            Task::AnBnCn => 3,
            Task::AbabStar => 4,
        }
    }

    /// The shortest string.
    pub fn shortest(self) -> u64 {
        match self {
            Task::ResetDyck1 => 3,
            Task::Recall => 2,
            _ => self.step(),
        }
    }

    /// Whether a length has but one string.
    pub fn single(self) -> bool {
        matches!(self, Task::AaStar | Task::AbabStar | Task::AnBn | Task::AnBnCn)
    }

    /// The lengths of a window that have a string.
    pub fn lengths(self, window: [u64; 2]) -> impl Iterator<Item = u64> {
        let (step, from) = (self.step(), window[0].max(self.shortest()));
        (from.div_ceil(step)..=window[1] / step).map(move |k| k * step)
    }
}
