//! The formatter keeps the tree and the comments, and has nothing to do the second time.

use std::fmt::Write as _;

use ogive_lang::{Diagnostics, FileId, format, parse};
use proptest::prelude::*;

/// The tree without its places.
fn tree(text: &str) -> String {
    let mut out = Diagnostics::default();
    let file = parse::parse(FileId(0), text, &mut out);
    assert!(out.list.is_empty(), "{text}\n{:?}", out.list);
    let mut shown = format!("{file:?}");
    while let Some(at) = shown.find("Span {") {
        let end = shown[at..].find('}').map_or(shown.len(), |n| at + n + 1);
        shown.replace_range(at..end, "@");
    }
    shown
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.find("//").map(|at| line[at..].trim_end())).collect()
}

/// Everything that the formatter promises about a text.
fn check(text: &str) -> String {
    let once = format(text).unwrap_or_else(|e| panic!("{text}\n{:?}", e.list));
    assert_eq!(format(&once).ok().as_deref(), Some(once.as_str()), "formatting twice differs from formatting once");
    assert_eq!(tree(text), tree(&once), "formatting changed the tree of\n{text}\nto\n{once}");
    assert_eq!(comments(text), comments(&once));
    assert!(once.lines().all(|line| line.trim_end() == line), "spaces at the end of a line");
    once
}

#[test]
fn columns_and_spaces_are_made_even() {
    let text = "block f [ a,b=2*a ]( x:[a] ,n : int=- 3)->y:[b]{param W:[a,b]~normal( 0.1 )|>equal_norms(over:a)   param bias : [b]\n\
                long=x@a W+bias\n// note\ny = -long*2 // tail\n\n\n\nz=long @ [a , b] (x)[a as c]}";
    let expected = "\
block f[a, b = 2 * a](x: [a], n: int = -3) -> y: [b] {
  param W:    [a, b] ~ normal(0.1) |> equal_norms(over: a)
  param bias: [b]
  long = x @a W + bias
  // note
  y = -long * 2  // tail

  z = long @[a, b] (x)[a as c]
}
";
    assert_eq!(format(text).ok().as_deref(), Some(expected));
}

#[test]
fn a_condition_stays_beside_its_if() {
    let call = |name: &str| format!("{name}(x, first: 1, second: 2, third: 3, fourth: 4, fifth: 5)");
    let text = format!(
        "block f[a](x: [a], kind: one | two | three = one) -> y: [a] {{y = if kind==one {{{}}} else if kind == two {{{}}} else {{{}}}}}",
        call("first"),
        call("second"),
        call("third")
    );
    let expected = format!(
        "block f[a](x: [a], kind: one | two | three = one) -> y: [a] {{
  y = if kind == one {{
    {}
  }} else if kind == two {{
    {}
  }} else {{
    {}
  }}
}}
",
        call("first"),
        call("second"),
        call("third")
    );
    assert_eq!(check(&text), expected);
}

#[test]
fn long_lines_are_broken_in_brackets_and_after_operators() {
    let arguments = (0..12).map(|i| format!("argument_{i}: value_{i}")).collect::<Vec<_>>().join(", ");
    let sum = (0..20).map(|i| format!("value_{i}")).collect::<Vec<_>>().join(" - ");
    let text = format!("block f[a](x: [a]) -> y: [a] {{\n  y = g(x, {arguments})\n  z = {sum}\n}}\n");
    let once = check(&text);
    assert!(once.lines().all(|line| line.chars().count() <= 110), "{once}");
}

#[test]
fn experiments_stand_in_columns() {
    let text = "experiment e{model m[a:1](b:2)\ndata text(webster)\nloss (x)\nevery 200{evaluate validation checkpoint keep:3}\nclaim -x<2}\n\
                sweep e{a in[1,2] b.c in[3]}\nsweep e {\n a in [1] }";
    let expected = "\
experiment e {
  model      m[a: 1](b: 2)
  data       text(webster)
  loss       (x)
  every 200  { evaluate validation   checkpoint keep: 3 }
  claim      -x < 2
}
sweep e { a in [1, 2]   b.c in [3] }
sweep e {
  a in [1]
}
";
    assert_eq!(format(text).ok().as_deref(), Some(expected));
}

#[test]
fn a_text_with_errors_is_left_alone() {
    assert!(format("block f[a](x: [a]) -> y: [a] { y = }").is_err());
}

#[test]
fn every_spec_keeps_its_meaning() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let mut folders = vec![root];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "arch") {
                check(&std::fs::read_to_string(&path).unwrap());
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "only {seen} specs were found");
}

/// Texts of expressions. `\u{1}` stands where any space may, `\u{2}` where only one on the line may.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["x", "W", "model", "key", "in", "along", "value", "from", "std"]).prop_map(String::from),
        prop::sample::select(vec!["1", "0.5", "1e-3", "inf", "true", "\"a b\"", "prev\u{1}W", "a.b.c"]).prop_map(String::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|v| v.join("\u{1},\u{1}"));
        let sign = prop::sample::select(vec!["+", "-", "*", "/", "^", "and", "or", "|>", "@key", "@[a,\u{1}b]", "@[a]"]);
        prop_oneof![
            (inner.clone(), sign, inner.clone()).prop_map(|(a, s, b)| format!("{a}\u{2}{s}\u{2}{b}")),
            (inner.clone(), prop::sample::select(vec!["<", "<=", "==", "!="]), inner.clone())
                .prop_map(|(a, s, b)| format!("(({a})\u{2}{s}\u{1}({b}))")),
            inner.clone().prop_map(|a| format!("-\u{2}{a}")),
            inner.clone().prop_map(|a| format!("not\u{2}{a}")),
            inner.clone().prop_map(|a| format!("(\u{1}{a}\u{1})")),
            list.clone().prop_map(|l| format!("[\u{1}{l}\u{1}]")),
            list.prop_map(|l| format!("f(\u{1}{l}\u{1})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("g({a}\u{1},\u{1}over\u{2}:\u{1}{b}\u{1})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(stack\u{1}2 * n\u{1}of\u{1}h({a},\u{1}if\u{2}:\u{1}{b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(if\u{1}({a})\u{1}{{\u{1}{b}\u{1}}}\u{1}else\u{1}{{\u{1}{c}\u{1}}})")),
            inner.clone().prop_map(|a| format!("({a})[\u{1}seq\u{1}as\u{1}src\u{1}]")),
            inner.clone().prop_map(|a| format!("({a})[\u{1}(a,\u{1}b)\u{1}as\u{1}c\u{1},\u{1}d\u{2}:\u{1}0\u{1}..\u{1}4\u{1}as\u{1}e]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(scan\u{1}cell({a},\u{1}{b})\u{1}along\u{1}seq)")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        expression().prop_map(|e| format!("y\u{1}=\u{2}{e}")),
        expression().prop_map(|e| format!("(a\u{1},\u{1}b)\u{1}=\u{2}{e}")),
        expression().prop_map(|e| format!("longer_name(M\u{1},\u{1}r)\u{1}=\u{2}{e}")),
        expression().prop_map(|e| format!("tap\u{1}t\u{1}=\u{2}{e}")),
        expression().prop_map(|e| format!("param\u{1}W\u{1},\u{1}V\u{1}:\u{1}[a\u{1},\u{1}b]\u{1}~\u{2}{e}")),
        expression().prop_map(|e| format!("state\u{1}M\u{1}:\u{1}[a]\u{1}=\u{2}{e}")),
        Just("state M: [a, b] = param".to_owned()),
        Just("param W: []".to_owned()),
        Just("instance n = f(over: model)".to_owned()),
    ]
}

fn file() -> impl Strategy<Value = String> {
    let block = (prop::collection::vec(statement(), 0..5), expression(), any::<bool>()).prop_map(|(body, default, inline)| {
        let head = format!("block\u{1}f\u{1}[a\u{1},\u{1}b\u{1}=\u{1}{default}](x\u{1}:\u{1}[a])\u{1}->\u{1}y\u{1}:\u{1}[a]\u{1}");
        let separator = if inline && body.len() < 2 { " " } else { "\u{3}" };
        format!("/// doc\n{head}{{{separator}{}{separator}}}", body.join("\u{3}"))
    });
    let experiment = (expression(), expression()).prop_map(|(a, b)| {
        format!(
            "experiment e {{\u{3}loss\u{2}{a}\u{3}budget steps: {b},\u{1}seed: 1\u{3}every 2 {{ evaluate validation }}\u{3}claim ({b}) < 2\u{3}}}"
        )
    });
    let constant = expression().prop_map(|e| format!("const\u{1}c\u{1}=\u{2}{e}"));
    let sweep = expression().prop_map(|e| format!("sweep e {{ a.b in [{e}] }}"));
    prop::collection::vec(prop_oneof![3 => block, 1 => experiment, 1 => constant, 1 => sweep], 1..4).prop_map(|items| items.join("\u{3}"))
}

/// Puts spaces, line breaks and comments where the marks are.
fn spaced(marked: &str, seed: &[u8]) -> String {
    let mut text = String::new();
    let mut choices = seed.iter().cycle();
    let mut next = |n: u8| choices.next().map_or(0, |b| b % n);
    for c in marked.chars() {
        match c {
            '\u{1}' => text.push_str([" ", " ", "  ", "\n", " // note\n", "\n\n  "][next(6) as usize]),
            '\u{2}' => text.push_str([" ", "   ", "\t"][next(3) as usize]),
            '\u{3}' => text.push_str(["\n", "\n\n", " // tail\n", "\n// own line\n", "\n\n\n  /// doc\n  "][next(5) as usize]),
            other => {
                let _ = text.write_char(other);
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn formatting_keeps_tree_and_comments(marked in file(), seed in prop::collection::vec(any::<u8>(), 1..40)) {
        check(&spaced(&marked, &seed));
    }
}
