//! What the grammar reads, and what is said about what it does not read.

use ogive_lang::syntax::{BinaryOp, ExprKind, Index, Item, PortType, StateStart, Stmt, UnaryOp};
use ogive_lang::{Diagnostics, FileId, codes, parse, syntax};

fn read(text: &str) -> (syntax::File, Diagnostics) {
    let mut out = Diagnostics::default();
    let file = parse::parse(FileId(0), text, &mut out);
    (file, out)
}

fn clean(text: &str) -> syntax::File {
    let (file, out) = read(text);
    assert!(out.list.is_empty(), "{text}\n{:?}", out.list);
    file
}

fn found(text: &str) -> Vec<&'static str> {
    read(text).1.list.iter().map(|d| d.code).collect()
}

fn body(statements: &str) -> Vec<Stmt> {
    let file = clean(&format!("cell f[a](x: [a]) -> y: [a] {{\n{statements}\n}}"));
    let Some(Item::Block(block)) = file.items.into_iter().next() else { panic!("no block") };
    block.body
}

/// The expression in a form that shows its tree.
fn shape(text: &str) -> String {
    let Some(Stmt::Equation { value, .. }) = body(&format!("y = {text}")).into_iter().next() else { panic!("no equation") };
    show(&value.kind)
}

fn show(kind: &ExprKind) -> String {
    let expr = |e: &syntax::Expr| show(&e.kind);
    match kind {
        ExprKind::Number(n) => n.to_string(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Text(t) => format!("{t:?}"),
        ExprKind::Name(path) => path.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join("."),
        ExprKind::Prev(of) => format!("(prev {})", of.name),
        ExprKind::Unary(UnaryOp::Neg, x) => format!("(- {})", expr(x)),
        ExprKind::Unary(UnaryOp::Not, x) => format!("(not {})", expr(x)),
        ExprKind::Binary(op, a, b) => format!("({op:?} {} {})", expr(a), expr(b)),
        ExprKind::Contract { left, over, right } => {
            let over: Vec<&str> = over.iter().map(|i| i.name.as_str()).collect();
            format!("(@{} {} {})", over.join(","), expr(left), expr(right))
        }
        ExprKind::Call(call) => format!("{}/{}", call.callee.name, call.args.len()),
        ExprKind::Repeat { share, times, call } => {
            format!("({} {} {})", if *share { "share" } else { "stack" }, expr(times), call.callee.name)
        }
        ExprKind::Scan { call, along, backward } => {
            format!("(scan{} {} {})", if *backward { " backward" } else { "" }, call.callee.name, along.name)
        }
        ExprKind::Index { of, by } => format!("{}[{}]", expr(of), by.len()),
        ExprKind::If { condition, then, otherwise } => format!("(if {} {} {})", expr(condition), expr(then), expr(otherwise)),
        ExprKind::List(items) => format!("[{}]", items.iter().map(expr).collect::<Vec<_>>().join(" ")),
        ExprKind::Tuple(items) => format!("<{}>", items.iter().map(expr).collect::<Vec<_>>().join(" ")),
        ExprKind::As { from, into } => format!("({} as {})", from.len(), into.len()),
        ExprKind::Error => "error".into(),
    }
}

#[test]
fn operators_bind_as_in_mathematics() {
    for (text, expected) in [
        ("a + b * c", "(Add a (Mul b c))"),
        ("a - b - c", "(Sub (Sub a b) c)"),
        ("a * b @k c", "(@k (Mul a b) c)"),
        ("a @[k, l] b / c", "(Div (@k,l a b) c)"),
        ("-a ^ b ^ c", "(- (Pow a (Pow b c)))"),
        ("a ^ -b * c", "(Mul (Pow a (- b)) c)"),
        ("-a * b", "(Mul (- a) b)"),
        ("not a < b and c or d", "(Or (And (not (Lt a b)) c) d)"),
        ("a + b <= c * d", "(Le (Add a b) (Mul c d))"),
        ("a + b |> f(c)", "(Pipe (Add a b) f/1)"),
        ("(a + b) * c", "(Mul (Add a b) c)"),
        ("prev W + beta * k", "(Add (prev W) (Mul beta k))"),
        ("f(x)[seq as src] @src v[pick]", "(@src f/1[1] v[1])"),
        ("if a { b } else if c { d } else { e }", "(if a b (if c d e))"),
        ("1 - stack 2 * n of f(x)", "(Sub 1 (stack (Mul 2 n) f))"),
        ("share 9 of f(x) + scan g(x) along seq", "(Add (share 9 f) (scan g seq))"),
        ("scan g(backward) backward along seq", "(scan backward g seq)"),
        ("[a, 1.5e-3, inf, true, \"t\"]", "[a 0.0015 inf true \"t\"]"),
        ("(a, b.c)", "<a b.c>"),
        ("iffy + origin + informed + notes + ofs", "(Add (Add (Add (Add iffy origin) informed) notes) ofs)"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
}

#[test]
fn line_breaks_separate_statements_and_not_the_parts_of_one() {
    assert_eq!(body("y = a\n  + b\nz = a +\n b\nw = (a\n - b)").len(), 3);
    assert_eq!(body("a = x   b = x\n(c, d) = f(x)\ng(M) = M param W: [a] tap t = x").len(), 6);
    assert_eq!(found("block f[a](x: [a]) -> y: [a] {\n y = x\n - x\n}"), [codes::syntax::UNEXPECTED]);
    // A bracket at the start of a line belongs to what follows.
    assert_eq!(body("y = x\n(a, b) = f(x)").len(), 2);
}

#[test]
fn words_of_items_and_settings_are_names_elsewhere() {
    let file = clean(
        "block model[model, key, value, block, in, along, cell](sweep: [model, in]) -> experiment: [key] {\n\
         \x20 import = sweep @in const\n  data = f(if: 1, in: in, along: along)\n  experiment = loss\n}",
    );
    assert_eq!(file.items.len(), 1);
    let indexes = body("y = x[in as in2, (a, b) as c, rate: 0, seq: 0..16 as head, tokens]");
    let Some(Stmt::Equation { value, .. }) = indexes.first() else { panic!("no equation") };
    let ExprKind::Index { by, .. } = &value.kind else { panic!("no index") };
    assert!(matches!(by[..], [Index::As { .. }, Index::As { .. }, Index::At { .. }, Index::Range { .. }, Index::Gather(_)]));
}

#[test]
fn headers_know_all_kinds_of_ports() {
    let file = clean(
        "/// Documented.\n/// Twice.\nblock f[a, b = 2 * a](x: [a], i: [] in b, n: int = 2, r: float, t: bool, k: none | rotary = none) -> (y: [a], z: [b]) { }",
    );
    let [Item::Block(block)] = &file.items[..] else { panic!("no block") };
    assert_eq!(block.doc, ["Documented.", "Twice."]);
    assert_eq!((block.dims.len(), block.outputs.len()), (2, 2));
    let kinds: Vec<&PortType> = block.inputs.iter().map(|p| &p.ty).collect();
    assert!(matches!(
        kinds[..],
        [PortType::Tensor(_), PortType::Tensor(_), PortType::Int(_), PortType::Float(_), PortType::Bool(_), PortType::Choice(_)]
    ));
}

#[test]
fn states_start_from_values_or_parameters() {
    let states = body("state W: [a] = 0\nstate V: [a] = param ~ normal(1)\nstate U: [a] = param");
    let starts: Vec<bool> = states.iter().map(|s| matches!(s, Stmt::State { start: StateStart::Param { .. }, .. })).collect();
    assert_eq!(starts, [false, true, true]);
}

#[test]
fn experiments_take_brackets_after_the_model() {
    let file = clean(
        "experiment e {\n model m[d: 1](n: 2)\n every 2 { evaluate validation  checkpoint keep: 3 }\n claim a.b < 2\n}\nsweep e { a.b in [1] c in [2] }",
    );
    let [Item::Experiment(e), Item::Sweep(s)] = &file.items[..] else { panic!("two items") };
    assert!(matches!(&e.settings[0].args[0].value.kind, ExprKind::Call(call) if call.args.len() == 2));
    assert_eq!((e.settings[1].body.len(), s.axes.len()), (2, 2));
}

#[test]
fn a_power_sign_and_its_word_are_one() {
    let [Stmt::Equation { value, .. }] = &body("y = a ^ b")[..] else { panic!("one equation") };
    assert!(matches!(value.kind, ExprKind::Binary(BinaryOp::Pow, ..)));
}

#[test]
fn each_mistake_of_a_file_is_reported_once() {
    let text = "blok a[b](x: [b]) -> y: [b] { y = x }\n\
                block f[a](x: [a]) -> y: [a] {\n  parm W: [a]\n  y = x +\n  z = f(x\n  w = x ; \n  v = 1.2.3\n  good = x\n  u = \"open\n}\n\
                block g[a](x [a]) -> y: [a] { y = x }\n\
                experiment e {\n  loss (a\n  budget steps: , batch: 2\n}\n\
                sweep e { a in 3 }\n";
    let (file, out) = read(text);
    let lines: Vec<usize> = out.list.iter().map(|d| text[..d.labels[0].span.start as usize].matches('\n').count() + 1).collect();
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 3, 4, 5, 6, 7, 9, 11, 13, 14, 16], "{:#?}", out.list);
    // What can be read is there, and what cannot leaves its names.
    let Some(Item::Block(block)) = file.items.first() else { panic!("no block") };
    let names: Vec<&str> =
        block.body.iter().filter_map(|s| if let Stmt::Equation { names, .. } = s { Some(names[0].name.as_str()) } else { None }).collect();
    for name in ["y", "z", "w", "v", "good", "u"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(file.broken.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["a", "g"]);
}

#[test]
fn messages_never_name_rules_of_the_grammar() {
    let pieces = [
        "block f[a](x: [a]) -> y: [a] {",
        "param W: [a] ~ normal(1)",
        "y = f(x, over: a)[a as b] @a W",
        "}",
        "experiment e { loss x }",
        "sweep e { a in [1] }",
    ];
    let whole = pieces.join(" ");
    for at in (0..whole.len()).filter(|i| whole.is_char_boundary(*i)) {
        for extra in ["", "]", ") ", " of ", " 3 3 ", " ~ ", " = = "] {
            let text = format!("{}{extra}{}", &whole[..at], if extra.is_empty() { "" } else { &whole[at..] });
            for d in read(&text).1.list {
                assert!(!d.message.contains("line_") && !d.message.contains("k_") && !d.message.contains("_expr"), "{}", d.message);
                assert!(d.help.is_some(), "{}", d.message);
                assert!(!d.message.ends_with('.') && d.labels.iter().all(|l| l.text.split(' ').count() <= 6), "{d:?}");
            }
        }
    }
}
