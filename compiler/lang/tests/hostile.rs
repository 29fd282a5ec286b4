//! No text makes the parser panic, overflow a test thread's stack of 2 MiB, or take a second.

use std::time::Duration;

use ogive_lang::{Diagnostics, FileId, NoImports, Sources, Spec, codes, format, parse, render};

const MIB: usize = 1 << 20;
const HEAD: &str = "block f[a](x: [a]) -> y: [a] {\n y = ";

/// Time that this thread has had on a processor, which other work on the machine does not lengthen; elsewhere than on Linux nothing is measured.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// Reads, draws and formats a text; gives the codes that were found.
fn read(what: &str, text: &str) -> Vec<&'static str> {
    let start = own_time();
    let mut sources = Sources::default();
    let file = sources.add("hostile.arch", text);
    let mut out = Diagnostics::default();
    parse::parse(file, text, &mut out);
    let took = own_time() - start;
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
    let drawn = render::diagnostics(&out, &sources, render::Style::default());
    assert!(drawn.len() < MIB, "{what} draws {} bytes", drawn.len());
    if out.list.is_empty() {
        assert!(format(text).is_ok(), "{what}");
        let took = own_time() - start;
        assert!(took < Duration::from_secs(2), "{what} with formatting took {took:?}");
    }
    out.list.iter().map(|d| d.code).collect()
}

/// Numbers that look random and are the same every time.
fn numbers() -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).unwrap_or(0)
    })
}

#[test]
fn brackets_without_end_are_too_deep() {
    for open in ["(", "[", "{", "f(", "x[a: ", "if x { "] {
        for head in ["", HEAD] {
            let codes = read(open, &format!("{head}{}", open.repeat(900_000 / open.len())));
            assert_eq!(codes, [codes::syntax::TOO_DEEP], "{head}{open}");
        }
    }
}

#[test]
fn long_chains_are_too_deep_or_too_large() {
    for part in ["a + ", "- ", "not ", "a ^ ", "a |> ", "if a { b } else ", "a @key "] {
        let end = if part.starts_with("if") { "{ b } }" } else { "b }" };
        let short = format!("{HEAD}{}{end}", part.repeat(1000));
        assert_eq!(read(part, &short).first(), Some(&codes::syntax::TOO_DEEP), "{part}");
        let long = format!("{HEAD}{}{end}", part.repeat((MIB - 100) / part.len()));
        let codes = read(part, &long);
        assert!(matches!(codes[0], codes::syntax::TOO_DEEP | codes::syntax::TOO_LARGE), "{part}: {codes:?}");
    }
    let indexed = format!("{HEAD}x{} }}", "[a: 1]".repeat(1000));
    assert_eq!(read("indexes", &indexed), [codes::syntax::TOO_DEEP]);
}

#[test]
fn nesting_up_to_the_limit_is_read() {
    for (open, close) in [("(", ")"), ("f(x, g: ", ")"), ("[", "]"), ("x[a: ", "]"), ("if x { ", " } else { 2 }"), ("(1, ", ")")] {
        let text = format!("{HEAD}{}1{} }}", open.repeat(100), close.repeat(100));
        assert_eq!(read(open, &text), Vec::<&str>::new(), "{open}");
    }
}

#[test]
fn long_flat_files_are_read() {
    let statements: String = (0..20_000).map(|i| format!("  v{i} = x + {i}\n")).collect();
    assert!(read("statements", &format!("block f[a](x: [a]) -> y: [a] {{\n{statements}}}\n")).is_empty());
    assert!(read("a list", &format!("{HEAD}[{}] }}", "a, ".repeat(60_000))).is_empty());
    assert!(read("comments", &format!("{HEAD}x{}\n}}", "\n// note".repeat(100_000))).is_empty());
}

#[test]
fn many_mistakes_are_reported_up_to_a_limit() {
    let statements: String = (0..20_000).map(|i| format!("  v{i} = x + + {i} )\n")).collect();
    let codes = read("mistakes", &format!("block f[a](x: [a]) -> y: [a] {{\n{statements}}}\n"));
    assert!(codes.len() >= 50 && codes.len() <= 200, "{}", codes.len());
    let labels = format!("{HEAD}f({}) }}", "a: 1, ".repeat(40_000));
    assert_eq!(read("labels", &labels)[0], codes::syntax::DUPLICATE_LABEL);
}

#[test]
fn texts_made_by_chance_are_refused_in_time() {
    let words = [
        "a", "b", "param", "state", "(", ")", "[", "]", "{", "}", "+", "-", "*", "@", "=", ":", ",", "if", "else", "stack", "of", "1",
        "2.5", "\n", "block", "model", "~", "as", "->", "\"x\"", ".", "\"", "1e999", "é", "//",
    ];
    let mut numbers = numbers();
    for size in [1, 2, 3, 5, 8, 20, 100, 1000, 100_000] {
        for _ in 0..(20_000 / size).clamp(1, 2000) {
            let text: String = (0..size).map(|_| words[numbers.next().unwrap_or(0) % words.len()]).collect::<Vec<_>>().join(" ");
            read("words by chance", &text);
            read("words by chance in a block", &format!("{HEAD}{text}\n}}\n"));
        }
    }
    let flat: Vec<&str> = words.iter().copied().filter(|w| !"()[]{}".contains(w)).collect();
    let text: String = (0..150_000).map(|_| flat[numbers.next().unwrap_or(0) % flat.len()]).collect::<Vec<_>>().join(" ");
    read("words without brackets", &format!("{HEAD}{text}"));
}

#[test]
fn every_beginning_of_a_spec_is_survived() {
    let text = include_str!("../../../specs/std/attention.arch");
    for end in (0..text.len()).filter(|i| text.is_char_boundary(*i)) {
        read("a cut file", &text[..end]);
    }
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let mut numbers = numbers();
    let bytes: Vec<u8> = (0..MIB).map(|_| u8::try_from(numbers.next().unwrap_or(0) % 256).unwrap_or(0)).collect();
    for (bytes, expected) in [
        (bytes, codes::syntax::NOT_TEXT),
        (vec![0xff, 0xfe, 0x00], codes::syntax::NOT_TEXT),
        (b"const a = 1\0".to_vec(), codes::syntax::NOT_TEXT),
        (vec![b'a'; 100 << 20], codes::syntax::TOO_LARGE),
    ] {
        let start = own_time();
        let (spec, out) = Spec::load_bytes("hostile.arch", bytes, &NoImports);
        assert_eq!(out.list.iter().map(|d| d.code).collect::<Vec<_>>(), [expected]);
        assert!(render::diagnostics(&out, &spec.sources, render::Style::default()).contains(expected));
        let took = own_time() - start;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn every_byte_alone_is_survived() {
    for byte in 0..=255u8 {
        let text = String::from_utf8_lossy(&[byte]).into_owned();
        let mut out = Diagnostics::default();
        parse::parse(FileId(0), &text, &mut out);
        parse::parse(FileId(0), &format!("{HEAD}x {text} x }}"), &mut out);
    }
}
