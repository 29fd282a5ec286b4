//! Token sequences: in memory, or read in place from bytes.

use super::blob::Part;
use super::source::Width;
use std::sync::Arc;

/// A sequence of tokens, cheap to clone and to slice.
#[derive(Clone, Debug)]
pub struct Tokens {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Bytes(Part),
    Stored { part: Part, width: Width },
    Memory { tokens: Arc<Vec<u32>>, start: usize, end: usize },
}

impl Tokens {
    /// Every byte is a token.
    pub(super) fn bytes(part: Part) -> Tokens {
        Tokens { kind: Kind::Bytes(part) }
    }

    /// Little-endian tokens.
    pub(super) fn stored(part: Part, width: Width) -> Tokens {
        Tokens { kind: Kind::Stored { part, width } }
    }

    /// Tokens in memory.
    pub fn memory(tokens: Vec<u32>) -> Tokens {
        let end = tokens.len();
        Tokens { kind: Kind::Memory { tokens: Arc::new(tokens), start: 0, end } }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Bytes(part) => part.bytes().len(),
            Kind::Stored { part, width } => part.bytes().len() / width.bytes(),
            Kind::Memory { start, end, .. } => end - start,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens from `start`, as many as `out` holds; 0 after the last.
    pub fn read(&self, start: usize, out: &mut [i32]) {
        let wanted = start..start.saturating_add(out.len());
        out.fill(0);
        let ends = |len: usize| wanted.start.min(len)..wanted.end.min(len);
        match &self.kind {
            Kind::Bytes(part) => {
                let bytes = part.bytes();
                out.iter_mut().zip(&bytes[ends(bytes.len())]).for_each(|(o, &b)| *o = i32::from(b));
            }
            Kind::Stored { part, width } => {
                let tokens = part.slice(start.saturating_mul(width.bytes()), wanted.end.saturating_mul(width.bytes()));
                let each = tokens.bytes().chunks_exact(width.bytes()).map(little_endian);
                out.iter_mut().zip(each).for_each(|(o, token)| *o = i32::try_from(token).unwrap_or(i32::MAX));
            }
            Kind::Memory { tokens, start, end } => {
                let tokens = &tokens[*start..*end];
                out.iter_mut().zip(&tokens[ends(tokens.len())]).for_each(|(o, &t)| *o = i32::try_from(t).unwrap_or(i32::MAX));
            }
        }
    }

    /// The largest token and where it first stands.
    pub(super) fn largest(&self) -> Option<(u64, u32)> {
        let mut largest: Option<(u64, u32)> = None;
        self.each(|at, token| {
            if largest.is_none_or(|(_, l)| token > l) {
                largest = Some((at, token));
            }
            true
        });
        largest
    }

    /// The first token that is not below `limit` and where it stands.
    pub(super) fn first_at_least(&self, limit: u64) -> Option<(u64, u32)> {
        let mut found = None;
        self.each(|at, token| {
            if u64::from(token) >= limit {
                found = Some((at, token));
            }
            found.is_none()
        });
        found
    }

    /// The tokens from `start` to `end`.
    pub(super) fn slice(&self, from: usize, to: usize) -> Tokens {
        let kind = match &self.kind {
            Kind::Bytes(part) => Kind::Bytes(part.slice(from, to)),
            Kind::Stored { part, width } => Kind::Stored { part: part.slice(from * width.bytes(), to * width.bytes()), width: *width },
            Kind::Memory { tokens, start, end } => {
                let at = |i: usize| start.saturating_add(i).min(*end);
                Kind::Memory { tokens: tokens.clone(), start: at(from), end: at(to).max(at(from)) }
            }
        };
        Tokens { kind }
    }

    fn each(&self, mut visit: impl FnMut(u64, u32) -> bool) {
        let mut go = |tokens: &mut dyn Iterator<Item = u32>| {
            for (at, token) in tokens.enumerate() {
                if !visit(at as u64, token) {
                    return;
                }
            }
        };
        match &self.kind {
            Kind::Bytes(part) => go(&mut part.bytes().iter().map(|&b| u32::from(b))),
            Kind::Stored { part, width } => go(&mut part.bytes().chunks_exact(width.bytes()).map(little_endian)),
            Kind::Memory { tokens, start, end } => go(&mut tokens[*start..*end].iter().copied()),
        }
    }
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b))
}
