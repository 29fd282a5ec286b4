//! Tensor files with something wrong: cut short, bytes changed, headers that lie about sizes, shapes, types and places.

use super::Survey;
use crate::generate::Chance;
use ogive_runtime::{Data, Dim, Tensor, files};
use std::collections::BTreeMap;
use std::path::Path;

/// A sound file with tensors of every type.
///
/// # Panics
/// Where the folder cannot be written.
pub fn sound(folder: &Path) -> Vec<u8> {
    let of = |named: &[(&str, usize)], data| {
        let dims = named.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect();
        Tensor { dims, data }
    };
    let tensors: BTreeMap<&str, Tensor> = BTreeMap::from([
        ("layer.W", of(&[("model", 20), ("key", 15)], Data::F32((0..300).map(|i| i as f32 * 0.01).collect()))),
        ("scale", of(&[], Data::F64(vec![0.5]))),
        ("at", of(&[("seq", 40)], Data::I32((0..40).collect()))),
        ("mask", of(&[("seq", 40)], Data::Bool((0..40).map(|i| i % 2).collect()))),
        ("none", of(&[("seq", 0)], Data::F32(Vec::new()))),
    ]);
    let path = folder.join("sound.safetensors");
    let notes = BTreeMap::from([("step".to_owned(), "7".to_owned())]);
    files::write(&path, tensors.iter().map(|(n, t)| (*n, t)), &notes).expect("a file");
    std::fs::read(&path).expect("the file")
}

/// Numbers that headers lie with.
pub(super) const LIES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "39",
    "41",
    "300",
    "1199",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "1.5",
    "1e30",
];

/// A damaged file and what was done to it.
pub fn damaged(sound: &[u8], chance: &mut Chance) -> (String, Vec<u8>) {
    let header = 8 + u64::from_le_bytes(sound[..8].try_into().unwrap_or_default()) as usize;
    let mut bytes = sound.to_vec();
    let what = match chance.below(7) {
        0 => {
            let at = chance.below(sound.len());
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        1 => {
            let claim = [0, 1, 7, header as u64 - 9, header as u64 - 7, sound.len() as u64, 1 << 30, 1 << 62, u64::MAX][chance.below(9)];
            bytes[..8].copy_from_slice(&claim.to_le_bytes());
            format!("claims a header of {claim} bytes")
        }
        2 => {
            let count = 1 + chance.below(4);
            for _ in 0..count {
                let at = chance.below(header);
                bytes[at] = (chance.bits() & 0xff) as u8;
            }
            format!("{count} bytes of the header changed")
        }
        3 => {
            let count = 1 + chance.below(64);
            bytes.extend(std::iter::repeat_n(0, count));
            format!("{count} bytes too long")
        }
        4 => {
            return rewritten(
                sound,
                header,
                chance,
                &["\"F32\"", "\"F64\"", "\"I32\"", "\"BOOL\"", "\"F16\"", "\"I64\"", "\"F8_E5M2\"", "\"F4\"", "\"X\""],
                true,
            );
        }
        5 => return rewritten(sound, header, chance, LIES, false),
        _ => {
            let at = header + chance.below(sound.len() - header);
            bytes[at] ^= 1 << chance.below(8);
            format!("bit of byte {at} of the elements changed")
        }
    };
    (what, bytes)
}

/// A file whose header has one to three of its numbers (shapes, offsets) or types replaced, with its true length.
fn rewritten(sound: &[u8], header: usize, chance: &mut Chance, by: &[&str], types: bool) -> (String, Vec<u8>) {
    let mut text = String::from_utf8_lossy(&sound[8..header]).into_owned();
    let mut done = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let places: Vec<(usize, usize)> = if types {
            ["\"F32\"", "\"F64\"", "\"I32\"", "\"BOOL\""]
                .iter()
                .flat_map(|t| text.match_indices(t).map(|(i, m)| (i, i + m.len())).collect::<Vec<_>>())
                .collect()
        } else {
            let mut places: Vec<(usize, usize)> = Vec::new();
            for (i, _) in text.match_indices(|c: char| c.is_ascii_digit()) {
                match places.last_mut() {
                    Some(last) if last.1 == i => last.1 = i + 1,
                    _ => places.push((i, i + 1)),
                }
            }
            places
        };
        if places.is_empty() {
            break;
        }
        let (start, end) = *chance.one(&places);
        let new = *chance.one(by);
        done.push(format!("{} by {new}", &text[start..end]));
        text.replace_range(start..end, new);
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes.extend(&sound[header..]);
    (format!("in the header {}", done.join(", ")), bytes)
}

/// Reads `count` damaged tensor files.
///
/// # Panics
/// Where the folder cannot be written.
pub fn survey(survey: &mut Survey, seed: u64, count: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let sound = sound(folder.path());
    let path = folder.path().join("damaged.safetensors");
    let mut chance = Chance::new(seed);
    for _ in 0..count {
        let (what, bytes) = damaged(&sound, &mut chance);
        std::fs::write(&path, &bytes).expect("a file");
        survey.add(|| what.clone(), || files::read(&path).is_err());
    }
}
