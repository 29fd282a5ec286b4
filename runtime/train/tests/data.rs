//! Data sets: what is read, how it is cut, and every way in which a file can be wrong.

use ogive_train::data::{
    DataError, DataSpec, Dataset, PARTS, Part, Roots, Source, Tokenizer, TokenizerSpec, Width, contexts, evaluation_batch, reference,
    training_batch, webster,
};
use std::path::Path;

type Check = Result<(), Box<dyn std::error::Error>>;

fn spec(source: Source, tokenizer: TokenizerSpec, context: u64) -> DataSpec {
    DataSpec { source, tokenizer, context, split: [0.8, 0.1, 0.1] }
}

fn text(path: &str) -> Source {
    Source::Text(path.into())
}

fn jsonl_file(path: &str) -> Source {
    Source::Jsonl { path: path.into(), field: "text".into() }
}

fn i32s(tensor: &ogive_runtime::Tensor) -> Vec<i32> {
    match &tensor.data {
        ogive_runtime::Data::I32(v) => v.clone(),
        other => panic!("tokens are {:?}", other.dtype()),
    }
}

fn code(folder: &Path, spec: &DataSpec) -> &'static str {
    match Dataset::load(spec, &Roots::of(folder), None) {
        Ok(_) => "loads",
        Err(why) => {
            assert!(!why.to_string().is_empty());
            why.code()
        }
    }
}

fn lines(n: usize) -> String {
    (0..n).map(|i| format!("line {i} of a small text\n")).collect()
}

#[test]
fn the_dictionary_is_the_documented_text() {
    let text = webster();
    assert_eq!(text.len(), 8_606_873);
    assert!(text.starts_with("------\nOne of the simplest essential parts"), "{:?}", &text[..40]);
    let gzip = reference::gzip(text.as_bytes());
    assert!(gzip.is_some_and(|bits| (bits - 3.16).abs() < 0.03), "{gzip:?}");
    assert_eq!(reference::gzip(b""), None);
}

#[test]
fn xz_packs_a_repetition_to_almost_nothing() {
    let text = "the same words again and again\n".repeat(2000);
    let xz = reference::xz(text.as_bytes());
    assert!(xz.is_some_and(|bits| bits > 0.0 && bits < 0.1), "{xz:?}");
}

#[test]
fn splits_end_at_lines_and_cover_the_text() -> Check {
    let folder = tempfile::tempdir()?;
    let content = lines(200);
    std::fs::write(folder.path().join("a.txt"), &content)?;
    let set = Dataset::load(&spec(text("a.txt"), TokenizerSpec::Bytes, 16), &Roots::of(folder.path()), None)?;
    let parts: Vec<Vec<u8>> = PARTS[..3]
        .iter()
        .map(|&p| {
            let tokens = &set.split(p).tokens;
            let mut out = vec![0; tokens.len()];
            tokens.read(0, &mut out);
            out.iter().map(|&t| u8::try_from(t).unwrap_or(0)).collect()
        })
        .collect();
    assert_eq!(parts.concat(), content.as_bytes());
    assert!(parts.iter().all(|p| p.ends_with(b"\n") && p.starts_with(b"line ")));
    assert!(set.split(Part::Longer).tokens.is_empty());
    assert_eq!(set.validation_text(), Some(parts[1].as_slice()));
    assert_eq!(set.split(Part::Training).bytes_per_token(), Some(1.0));
    Ok(())
}

#[test]
fn a_context_and_its_targets_are_one_position_apart() -> Check {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.txt"), lines(200))?;
    let set = Dataset::load(&spec(text("a.txt"), TokenizerSpec::Bytes, 8), &Roots::of(folder.path()), None)?;
    let split = set.split(Part::Validation);
    let n = contexts(split);
    assert_eq!(n, (split.tokens.len() as u64 - 1) / 8);
    let batch = evaluation_batch(&set, Part::Validation, 3, n - 3);
    let (tokens, next) = (i32s(&batch["tokens"]), i32s(&batch["next.tokens"]));
    assert_eq!(tokens[1..8], next[..7]);
    assert_eq!(tokens[8], next[7]);
    assert_eq!(batch["tokens"].dims.iter().map(|d| (d.name.as_str(), d.size)).collect::<Vec<_>>(), [("batch", 3), ("seq", 8)]);
    Ok(())
}

#[test]
fn a_training_batch_is_a_function_of_seed_and_step_and_splits_into_micro_batches() -> Check {
    let set = Dataset::load(&spec(Source::Webster, TokenizerSpec::Bytes, 32), &Roots::of("."), None)?;
    let at = |seed, step| i32s(&training_batch(&set, 4, seed, step, 0)["tokens"]);
    assert_eq!(at(1, 7), at(1, 7));
    assert_ne!(at(1, 7), at(1, 8));
    assert_ne!(at(1, 7), at(2, 7));
    let second_half = i32s(&training_batch(&set, 2, 1, 7, 2)["tokens"]);
    assert_eq!(at(1, 7)[64..], second_half);
    Ok(())
}

#[test]
fn characters_come_from_the_training_split_and_survive_storing() -> Check {
    let folder = tempfile::tempdir()?;
    let content = format!("{}über\n", "abc\n".repeat(100));
    std::fs::write(folder.path().join("a.txt"), content)?;
    let set = Dataset::load(&spec(text("a.txt"), TokenizerSpec::Characters, 8), &Roots::of(folder.path()), None)?;
    assert_eq!(set.vocab, 5);
    let tokenizer = set.tokenizer.ok_or("no tokenizer")?;
    let again = Tokenizer::parse("stored", tokenizer.store())?;
    assert_eq!(again.encode("cab\nü")?, [4, 2, 3, 1, 0]);
    assert_eq!(again.decode(&[4, 2, 3, 1, 0, 99]), "cab\n\u{FFFD}\u{FFFD}");
    Ok(())
}

#[test]
fn a_hugging_face_tokenizer_counts_bytes_per_token() -> Check {
    let folder = tempfile::tempdir()?;
    let vocab: Vec<String> =
        ["[UNK]", "line", "of", "a", "small", "text"].iter().enumerate().map(|(i, w)| format!("\"{w}\": {i}")).collect();
    let json = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null, "decoder": null,
            "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "[UNK]"}}}}"#,
        vocab.join(", ")
    );
    std::fs::write(folder.path().join("tokenizer.json"), json)?;
    std::fs::write(folder.path().join("a.txt"), lines(200))?;
    let set = Dataset::load(&spec(text("a.txt"), TokenizerSpec::File("tokenizer.json".into()), 8), &Roots::of(folder.path()), None)?;
    assert_eq!(set.vocab, 6);
    let per_token = set.split(Part::Training).bytes_per_token().ok_or("no bytes")?;
    assert!(per_token > 4.0 && per_token < 5.0, "{per_token}");
    let stored = set.tokenizer.ok_or("no tokenizer")?.store();
    assert_eq!(Tokenizer::parse("stored", stored)?.encode("a small text")?, [3, 4, 5]);
    Ok(())
}

#[test]
fn jsonl_is_cut_between_documents() -> Check {
    let folder = tempfile::tempdir()?;
    let content: String = (0..50).map(|i| format!("{{\"id\": {i}, \"text\": \"document {i}\\nends\"}}\n")).collect();
    std::fs::write(folder.path().join("a.jsonl"), content)?;
    let set = Dataset::load(&spec(jsonl_file("a.jsonl"), TokenizerSpec::Bytes, 8), &Roots::of(folder.path()), None)?;
    let text = String::from_utf8(set.validation_text().ok_or("no text")?.to_vec())?;
    assert!(text.starts_with("document ") && text.ends_with("ends\n\n"), "{text:?}");
    Ok(())
}

#[test]
fn token_files_of_both_widths_are_read() -> Check {
    let folder = tempfile::tempdir()?;
    let tokens: Vec<u32> = (0..100).map(|i| i * 7 % 50).collect();
    std::fs::write(folder.path().join("a.bin"), tokens.iter().flat_map(|&t| (t as u16).to_le_bytes()).collect::<Vec<u8>>())?;
    std::fs::write(folder.path().join("b.bin"), tokens.iter().flat_map(|&t| t.to_le_bytes()).collect::<Vec<u8>>())?;
    for (path, width) in [("a.bin", Width::Two), ("b.bin", Width::Four)] {
        let source = Source::Tokens { path: path.into(), width, vocab: None };
        let set = Dataset::load(&spec(source, TokenizerSpec::Bytes, 4), &Roots::of(folder.path()), None)?;
        assert_eq!((set.vocab, set.split(Part::Training).tokens.len()), (50, 80));
        let mut out = [0; 4];
        set.split(Part::Test).tokens.read(8, &mut out);
        assert_eq!(out, [98 * 7 % 50, 99 * 7 % 50, 0, 0]);
        assert_eq!(set.split(Part::Training).bytes_per_token(), None);
    }
    Ok(())
}

#[test]
fn every_bad_file_is_an_error_with_its_code() -> Check {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("folder"))?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes);
    std::fs::write(folder.path().join("outside.txt"), lines(100))?;
    write("empty.txt", b"")?;
    write("short.txt", b"too short\n")?;
    write("latin.txt", &[lines(100).as_bytes(), b"\xE9t\xE9\n"].concat())?;
    write("binary.txt", &(0..=255u8).cycle().take(4000).collect::<Vec<u8>>())?;
    write("bad.jsonl", b"{\"text\": \"fine\"}\n\n{\"text\": 3}\n")?;
    write("not.jsonl", b"words\n")?;
    write("latin.jsonl", b"{\"text\": \"\xE9\"}\n")?;
    write("none.jsonl", b"\n\n")?;
    write("odd.bin", &[1, 0, 2])?;
    write("large.bin", &[1, 0, 0, 1, 9, 0, 2, 0])?;
    write("tokenizer.json", b"{\"model\": 3}")?;
    write("fine.txt", lines(100).as_bytes())?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("../outside.txt", root.join("link.txt"))?;

    let bytes = |path: &str| spec(text(path), TokenizerSpec::Bytes, 16);
    let characters = |path: &str| spec(text(path), TokenizerSpec::Characters, 16);
    let jsonl = |path: &str| spec(jsonl_file(path), TokenizerSpec::Bytes, 1);
    let tokens = |path: &str, vocab| spec(Source::Tokens { path: path.into(), width: Width::Two, vocab }, TokenizerSpec::Bytes, 1);
    let split = |split| DataSpec { split, ..bytes("fine.txt") };
    let mut cases = vec![
        (bytes("absent.txt"), "arch::data::missing"),
        (bytes("folder"), "arch::data::not_a_file"),
        (bytes("../outside.txt"), "arch::data::outside_roots"),
        (bytes("../absent.txt"), "arch::data::outside_roots"),
        (bytes("/etc/passwd"), "arch::data::outside_roots"),
        (bytes("/no/such/file"), "arch::data::outside_roots"),
        (bytes("empty.txt"), "arch::data::empty"),
        (bytes("short.txt"), "arch::data::too_short"),
        (bytes("latin.txt"), "loads"),
        (bytes("binary.txt"), "loads"),
        (characters("latin.txt"), "arch::data::not_utf8"),
        (characters("binary.txt"), "arch::data::not_utf8"),
        (spec(text("fine.txt"), TokenizerSpec::File("tokenizer.json".into()), 16), "arch::data::bad_tokenizer"),
        (spec(text("fine.txt"), TokenizerSpec::File("absent.json".into()), 16), "arch::data::missing"),
        (jsonl("bad.jsonl"), "arch::data::bad_line"),
        (jsonl("not.jsonl"), "arch::data::bad_line"),
        (jsonl("latin.jsonl"), "arch::data::bad_line"),
        (jsonl("none.jsonl"), "arch::data::empty"),
        (tokens("odd.bin", None), "arch::data::odd_size"),
        (tokens("large.bin", Some(100)), "arch::data::outside_vocabulary"),
        (split([0.0, 0.5, 0.5]), "arch::data::bad_split"),
        (split([0.9, 0.5, 0.5]), "arch::data::bad_split"),
        (split([f64::NAN, 0.5, 0.5]), "arch::data::bad_split"),
        (split([0.9, -0.1, 0.1]), "arch::data::bad_split"),
        (split([1.0, 0.0, 0.0]), "loads"),
        (DataSpec { context: 0, ..bytes("fine.txt") }, "arch::data::bad_context"),
        (DataSpec { context: u64::MAX, ..bytes("fine.txt") }, "arch::data::bad_context"),
        (DataSpec { context: 1 << 31, ..bytes("fine.txt") }, "arch::data::too_short"),
    ];
    if cfg!(unix) {
        cases.push((bytes("link.txt"), "arch::data::outside_roots"));
    }
    for (case, expected) in cases {
        assert_eq!(code(&root, &case), expected, "{case:?}");
    }
    Ok(())
}

#[test]
fn a_bad_jsonl_line_is_named_by_number_and_a_bad_byte_by_position() -> Check {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.jsonl"), "{\"text\": \"fine\"}\n\n{\"text\": 3}\n")?;
    let why = Dataset::load(&spec(jsonl_file("a.jsonl"), TokenizerSpec::Bytes, 1), &Roots::of(folder.path()), None);
    assert!(matches!(why, Err(DataError::BadLine { line: 3, .. })), "{why:?}");
    std::fs::write(folder.path().join("a.txt"), [b"fine\n".repeat(100).as_slice(), b"\xFF\n"].concat())?;
    let why = Dataset::load(&spec(text("a.txt"), TokenizerSpec::Characters, 4), &Roots::of(folder.path()), None);
    assert!(matches!(why, Err(DataError::NotUtf8 { at: 500, .. })), "{why:?}");
    Ok(())
}
