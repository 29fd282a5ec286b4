//! Run folders and data files with something wrong: what one file holds, or what lies in its place.

use super::Survey;
use super::files::LIES;
use crate::generate::Chance;
use ogive_runtime::{Data, Dim, Tensor};
use ogive_train::data::{DataSpec, Dataset, Roots, Source, Tokenizer, TokenizerSpec, Width};
use ogive_train::run::checkpoint::{self, State};
use ogive_train::run::{DataLock, Lock, RunFolder, read_lock, read_spec, read_tokenizer};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The parameters of the run.
fn weights() -> BTreeMap<String, Tensor> {
    let of = |named: &[(&str, usize)], data| Tensor {
        dims: named.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect(),
        data: Data::F32(data),
    };
    BTreeMap::from([
        ("layer.W".to_owned(), of(&[("model", 6), ("key", 4)], (0..24).map(|i| i as f32 * 0.1).collect())),
        ("scale".to_owned(), of(&[], vec![0.5])),
    ])
}

/// A sound run folder with two checkpoints, and files of data beside it.
fn sound(root: &Path) {
    let run = RunFolder::create(&root.join("run")).expect("a run folder");
    let text = (0..200).map(|i| format!("line {i} of the text\n")).collect::<String>();
    let lock = Lock {
        ogive: "0.1.0".into(),
        experiment: "first".into(),
        files: Vec::new(),
        set: vec![("optimizer.lr".into(), "0.1".into())],
        base: root.to_owned(),
        roots: vec![root.to_owned()],
        settings: BTreeMap::from([("budget.steps".into(), "7".into())]),
        seed: 1,
        graph: "0".repeat(64),
        parameters: 25,
        data: DataLock { source: "text.txt".into(), fingerprint: "0".repeat(64), vocab: 30, tokens: BTreeMap::new() },
    };
    let spec = "model m[a = 2](x: [a]) -> y: [a] { y = x }\n".to_owned();
    let tokenizer = Tokenizer::parse("characters", br#"{"kind": "characters", "characters": " abc"}"#.to_vec()).expect("a tokenizer");
    run.describe(lock, &[("spec.arch".into(), spec)], Some(&tokenizer)).expect("a description");
    let model = weights();
    for step in [3, 7] {
        let state = State {
            experiment: "first".into(),
            step,
            seed: 1,
            tokens: 100 * step,
            seconds: 0.5,
            metrics: 0,
            best: None,
            reached: false,
            skipped: 0,
            graph: "0".repeat(64),
            data: "0".repeat(64),
        };
        let moments: BTreeMap<String, &Tensor> = model.iter().map(|(n, t)| (format!("m.{n}"), t)).collect();
        let own = model.iter().map(|(n, t)| (n.as_str(), t)).collect();
        checkpoint::write(&run.checkpoints(), own, moments.iter().map(|(n, t)| (n.as_str(), *t)).collect(), &state).expect("a checkpoint");
    }
    fs::write(root.join("text.txt"), &text).expect("a text");
    let lines: String = (0..50).map(|i| format!("{{\"text\": \"line {i}\", \"n\": {i}}}\n")).collect();
    fs::write(root.join("lines.jsonl"), lines).expect("lines");
    fs::write(root.join("tokens.bin"), (0..800u16).flat_map(|t| (t % 50).to_le_bytes()).collect::<Vec<u8>>()).expect("tokens");
}

/// Files below a folder, as paths from it, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.extend(path.strip_prefix(folder).map(Path::to_owned));
            }
        }
    }
    out.sort();
    out
}

/// Changes the content of a file; says how.
fn change(content: &mut Vec<u8>, chance: &mut Chance) -> String {
    let length = content.len().max(1);
    match chance.below(5) {
        0 => {
            content.truncate(chance.below(length));
            format!("cut to {} bytes", content.len())
        }
        1 => {
            let count = 1 + chance.below(8);
            for _ in 0..count {
                let at = chance.below(length);
                if let Some(byte) = content.get_mut(at) {
                    *byte = (chance.bits() & 0xff) as u8;
                }
            }
            format!("{count} bytes changed")
        }
        2 => {
            let count = 1 + chance.below(4096);
            content.extend(std::iter::repeat_n(b' ', count));
            format!("{count} bytes added")
        }
        3 => {
            let text = String::from_utf8_lossy(content).into_owned();
            let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(i, _)| i).collect();
            if digits.is_empty() {
                return "nothing changed".into();
            }
            let (at, lie) = (*chance.one(&digits), *chance.one(LIES));
            let end = at + text[at..].bytes().take_while(u8::is_ascii_digit).count();
            *content = format!("{}{lie}{}", &text[..at], &text[end..]).into_bytes();
            format!("a number replaced by {lie}")
        }
        _ => {
            let text = String::from_utf8_lossy(content).into_owned();
            let words = ["step-3", "spec.arch", "model.safetensors", "state.json", "spec/", "text"];
            let climbs = ["../../text.txt", "/etc/passwd", "..", "", "a/b", ".", "\\u0000"];
            let (word, climb) = (*chance.one(&words), *chance.one(&climbs));
            *content = text.replacen(word, climb, 1).into_bytes();
            format!("`{word}` replaced by `{climb}`")
        }
    }
}

/// Damages one file of a tree; says what and how.
#[cfg(unix)]
fn damage(root: &Path, all: &[PathBuf], chance: &mut Chance) -> String {
    let name = chance.one(all);
    let path = root.join(name);
    let how = match chance.below(12) {
        0 => fs::remove_file(&path).map(|()| "removed".to_owned()),
        1 => fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).map(|()| "a folder".to_owned()),
        2 => {
            let targets =
                [PathBuf::from("/dev/zero"), PathBuf::from("/dev/null"), path.clone(), PathBuf::from("/nothing"), root.to_owned()];
            let target = chance.one(&targets);
            let linked = fs::remove_file(&path).and_then(|()| std::os::unix::fs::symlink(target, &path));
            linked.map(|()| format!("a link to {}", target.display()))
        }
        3 => {
            let other = chance.one(all);
            fs::read(root.join(other)).and_then(|content| fs::write(&path, content)).map(|()| format!("the content of {}", other.display()))
        }
        _ => fs::read(&path).and_then(|mut content| {
            let how = change(&mut content, chance);
            fs::write(&path, &content).map(|()| how)
        }),
    };
    format!("{}: {}", name.display(), how.unwrap_or_else(|e| e.to_string()))
}

/// Reads all that a command reads of a run and of data; gives whether anything was refused.
fn read(root: &Path) -> bool {
    let run = root.join("run");
    let mut fine = true;
    let mut note = |ok: bool| fine &= ok;
    match read_lock(&run) {
        Ok(lock) => note(read_spec(&run, &lock).is_ok()),
        Err(_) => note(false),
    }
    note(read_tokenizer(&run).is_ok());
    let folder = run.join("checkpoints");
    note(checkpoint::latest(&folder).is_ok_and(|(_, skipped)| skipped.is_empty()));
    let expected = weights();
    for step in ["step-3", "step-7"] {
        note(checkpoint::weights(&folder.join(step), &expected).is_ok());
    }
    let sources = [
        Source::Text("text.txt".into()),
        Source::Jsonl { path: "lines.jsonl".into(), field: "text".into() },
        Source::Tokens { path: "tokens.bin".into(), width: Width::Two, vocab: Some(50) },
        Source::Tokens { path: "tokens.bin".into(), width: Width::Four, vocab: None },
    ];
    for source in sources {
        for tokenizer in [TokenizerSpec::Bytes, TokenizerSpec::Characters, TokenizerSpec::File("run/tokenizer.json".into())] {
            let spec = DataSpec { source: source.clone(), tokenizer, context: 8, split: [0.8, 0.1, 0.1] };
            note(Dataset::load(&spec, &Roots::of(root), None).is_ok());
        }
    }
    !fine
}

/// Damages and reads a run and data `count` times.
///
/// # Panics
/// Where the folder cannot be written, or the sound one is refused.
#[cfg(unix)]
pub fn survey(survey: &mut Survey, seed: u64, count: u64) {
    let place = tempfile::tempdir().expect("a folder");
    let whole = place.path().join("whole");
    fs::create_dir(&whole).expect("a folder");
    sound(&whole);
    let all = files(&whole);
    let contents: Vec<Vec<u8>> = all.iter().map(|f| fs::read(whole.join(f)).expect("a file")).collect();
    assert!(!read(&whole), "the sound run is refused");
    let mut chance = Chance::new(seed);
    let root = place.path().join("damaged");
    for _ in 0..count {
        for (file, content) in all.iter().zip(&contents) {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&root)).and_then(|()| fs::write(&path, content)).expect("a file");
        }
        let what = damage(&root, &all, &mut chance);
        survey.add(|| what.clone(), || read(&root));
        fs::remove_dir_all(&root).expect("a folder that can go");
    }
}
