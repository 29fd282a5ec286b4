//! A hostile header must not make the reader allocate. Alone in its binary: it watches the memory of the whole process.

use ogive_runtime::{files, memory};
use std::fmt::Write;

const MIB: u64 = 1 << 20;

/// Headers made to blow up when parsed, and whether they are sound.
fn headers() -> Vec<(&'static str, String)> {
    let mut many = String::from("{");
    for i in 0..1_000_000 {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(many, r#"{comma}"{i}":{{"dtype":"I8","shape":[],"data_offsets":[0,0]}}"#);
    }
    many.push('}');
    let mut within = String::from("{");
    let mut i = 0;
    while within.len() < 8_000_000 && i * 4 + 8 < files::MAX_COMMAS {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(within, r#"{comma}"{i}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#);
        i += 1;
    }
    within.push('}');
    let ones = |n: usize| vec!["1"; n].join(",");
    let shape = format!(r#"{{"a":{{"dtype":"I8","shape":[{}],"data_offsets":[0,1]}}}}"#, ones(files::MAX_COMMAS - 10));
    let unknown = format!(r#"{{"a":{{"dtype":"I8","other":[{}],"shape":[0],"data_offsets":[0,0]}}}}"#, ones(files::MAX_COMMAS - 10));
    let notes: Vec<String> = (0..files::MAX_COMMAS - 10).map(|i| format!(r#""{i}":"""#)).collect();
    let metadata = format!(r#"{{"__metadata__":{{{}}}}}"#, notes.join(","));
    let long = format!(r#"{{"{}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}}}"#, "x".repeat(8_000_000));
    let dims = format!(r#"{{"__metadata__":{{"ogive.dims":"{{\"a\":[{}]}}"}}}}"#, vec![r#"\"\""#; files::MAX_COMMAS - 10].join(","));
    vec![
        ("a million tensors", many),
        ("as many tensors as allowed", within),
        ("a long shape", shape),
        ("a long unknown part", unknown),
        ("many notes", metadata),
        ("a long name", long),
        ("many names of dims", dims),
    ]
}

#[test]
#[cfg_attr(miri, ignore = "the memory that is measured would be that of Miri")]
fn reading_allocates_little_beyond_the_size_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    for (what, header) in headers() {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + 1, 0);
        std::fs::write(&path, &bytes).unwrap();
        let size = bytes.len() as u64;
        drop((bytes, header));
        reset_peak();
        let Some(before) = memory::resident() else { return };
        let result = files::read(&path);
        let grown = memory::peak().unwrap_or(0).saturating_sub(before);
        assert!(grown <= size + 64 * MIB, "{what}: {} MiB for a file of {} MiB", grown / MIB, size / MIB);
        drop(result);
    }
}

/// Makes the peak count from now.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
