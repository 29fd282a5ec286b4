//! Elaboration and lowering of the specs that come with ogive, and of small ones that hold one rule each.

use ogive_lang::elaborate::{self, Settings};
use ogive_lang::hir::experiment::Corpus;
use ogive_lang::syntax::{BlockKind, Item};
use ogive_lang::{Diagnostics, NoImports, Spec, hir, lower, render};
use std::path::{Path, PathBuf};

/// Reads imports beside the importing file.
struct Folder;

impl ogive_lang::Loader for Folder {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let full = Path::new(from).parent().map_or_else(|| PathBuf::from(path), |p| p.join(path));
        let text = std::fs::read_to_string(&full).map_err(|e| e.to_string())?;
        Ok((full.to_string_lossy().into_owned(), text))
    }
}

fn specs() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "arch") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs"), &mut out);
    out
}

fn shown(spec: &Spec, out: &Diagnostics) -> String {
    render::diagnostics(out, &spec.sources, render::Style::default())
}

fn load(text: &str) -> Spec {
    let (spec, out) = Spec::load("test.arch", text.to_string(), &NoImports);
    assert!(!out.has_errors(), "{}", shown(&spec, &out));
    spec
}

/// Every block, with sizes left open and in training as well as outside.
#[test]
fn every_block_of_the_specs_elaborates_without_errors() {
    let mut failures = String::new();
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, out) = Spec::load(&path.to_string_lossy(), text, &Folder);
        assert!(!out.has_errors(), "{}", shown(&spec, &out));
        for item in &spec.file(spec.root).items {
            let Item::Block(block) = item else { continue };
            for training in [false, true] {
                let settings = Settings { training, ..Settings::default() };
                let (program, out) = elaborate::open_block(&spec, &block.name.name, &settings);
                if program.is_none() || out.has_errors() {
                    failures.push_str(&format!("{} {}\n{}", path.display(), block.name.name, shown(&spec, &out)));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// `/// Parameters: 47_260_120` above a model is exact, and the model lowers to a graph that verifies.
#[test]
fn models_have_the_parameters_that_their_text_says_and_lower() {
    let mut counted = 0;
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, _) = Spec::load(&path.to_string_lossy(), text, &Folder);
        for item in &spec.file(spec.root).items {
            let Item::Block(block) = item else { continue };
            if block.kind != BlockKind::Model {
                continue;
            }
            let mut settings = Settings::default();
            settings.dims.insert("vocab".into(), 256);
            settings.dims.insert("seq".into(), 16);
            let wanted = block.doc.iter().find_map(|l| l.trim().strip_prefix("Parameters: "));
            if wanted.is_some() {
                settings.dims.clear();
            }
            let (program, out) = elaborate::block(&spec, &block.name.name, &settings);
            let program = program.unwrap_or_else(|| panic!("{} {}\n{}", path.display(), block.name.name, shown(&spec, &out)));
            if let Some(wanted) = wanted {
                let count = hir::text::grouped(program.parameters().unwrap());
                assert_eq!(count, wanted.trim(), "{} {}", path.display(), block.name.name);
                counted += 1;
            }
            let lowered = lower::program(&program, &lower::Options { batch: Some(2), ..lower::Options::default() });
            if let Err(errors) = ogive_graph::verify::verify(&lowered.graph) {
                panic!("{} {}: {:?}\n{}", path.display(), block.name.name, errors, ogive_graph::text::print(&lowered.graph));
            }
            let total: u64 = lowered.params.iter().map(lower::Parameter::elements).sum();
            assert_eq!(Some(total), program.parameters());
        }
    }
    assert!(counted >= 14, "{counted} models say how many parameters they have");
}

/// Loss and metrics are scalars, the graph verifies, training and evaluation have the same parameters.
#[test]
fn every_experiment_of_the_specs_elaborates_and_lowers() {
    let mut seen = 0;
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, _) = Spec::load(&path.to_string_lossy(), text, &Folder);
        for item in &spec.file(spec.root).items {
            let Item::Experiment(experiment) = item else { continue };
            seen += 1;
            let mut names = Vec::new();
            for training in [true, false] {
                let settings = Settings { training, ..Settings::default() };
                let (found, out) = elaborate::experiment(&spec, &experiment.name.name, &settings);
                let found = found.unwrap_or_else(|| panic!("{}\n{}", path.display(), shown(&spec, &out)));
                let lowered = lower::experiment(&found, &lower::Options { batch: Some(3), ..lower::Options::default() });
                if let Err(errors) = ogive_graph::verify::verify(&lowered.graph) {
                    panic!("{}: {:?}\n{}", path.display(), errors, ogive_graph::text::print(&lowered.graph));
                }
                assert_eq!(lowered.outputs[0].name, "loss");
                assert!(lowered.outputs.iter().all(|o| o.dims.is_empty()));
                let inputs: Vec<&str> = lowered.inputs.iter().map(|i| i.name.as_str()).collect();
                if matches!(found.data.corpus, Corpus::Generated(_)) {
                    // A loss need not look at what is to be told.
                    assert!(
                        inputs[0] == "symbols" && inputs[1..].iter().all(|i| ["data.counted", "data.target"].contains(i)),
                        "{inputs:?}"
                    );
                } else {
                    // A loss need not look at the tokens that follow.
                    assert!(inputs == ["tokens", "next.tokens"] || inputs == ["tokens"], "{inputs:?}");
                }
                let last = inputs.len() - 1;
                assert_eq!(lowered.inputs[last].dims.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["batch", "seq"]);
                assert_eq!(lowered.inputs[last].dims[0].size, 3);
                names.push(lowered.params.iter().map(|p| p.name.clone()).collect::<Vec<_>>());
            }
            assert_eq!(names[0], names[1]);
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn specs_check_without_errors_or_warnings() {
    let mut all = String::new();
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, _) = Spec::load(&path.to_string_lossy(), text, &Folder);
        let start = std::time::Instant::now();
        let out = ogive_lang::check::check(&spec, &Settings::default());
        assert!(start.elapsed().as_secs() < 5, "{} takes {:?}", path.display(), start.elapsed());
        if !out.list.is_empty() {
            all.push_str(&format!("{}\n{}", path.display(), shown(&spec, &out)));
        }
    }
    assert!(all.is_empty(), "{all}");
}

fn program(text: &str, name: &str) -> (Spec, hir::Program) {
    let spec = load(text);
    let (program, out) = elaborate::block(&spec, name, &Settings::default());
    let program = program.unwrap_or_else(|| panic!("{}", shown(&spec, &out)));
    (spec, program)
}

fn params(program: &hir::Program) -> Vec<String> {
    let listed = lower::listing(program).params;
    let dims = |d: &[(String, Option<u64>)]| d.iter().map(|(n, s)| format!("{n} {}", s.unwrap_or(0))).collect::<Vec<_>>().join(", ");
    listed.iter().map(|p| format!("{}: [{}]", p.name, dims(&p.dims))).collect()
}

#[test]
fn stacked_blocks_have_a_depth_and_shared_ones_do_not() {
    let text = "block f[m](x: [m]) -> y: [m] { param w: [m] y = x * w }
        block pair[m](x: [m]) -> y: [m] { y = f(f(x)) }
        model a[m = 4](x: [m]) -> y: [m] { y = stack 3 of pair(x) }
        model b[m = 4](x: [m]) -> y: [m] { y = share 3 of pair(x) }
        model c[m = 4](x: [m]) -> y: [m] { instance g = f(m: m) y = g(g(x)) }";
    assert_eq!(params(&program(text, "a").1), ["pair.f.0.w: [depth 3, m 4]", "pair.f.1.w: [depth 3, m 4]"]);
    assert_eq!(params(&program(text, "b").1), ["pair.f.0.w: [m 4]", "pair.f.1.w: [m 4]"]);
    assert_eq!(params(&program(text, "c").1), ["g.w: [m 4]"]);
}

#[test]
fn nested_stacks_have_a_depth_each() {
    let text = "block f[m](x: [m]) -> y: [m] { param w: [m] ~ constant(depth) y = x * w }
        block g[m](x: [m]) -> y: [m] { y = stack 2 of f(x) }
        model a[m = 4](x: [m]) -> y: [m] { y = stack 3 of g(x) }";
    let (_, a) = program(text, "a");
    assert_eq!(params(&a), ["g.f.w: [depth 3, depth 2, m 4]"]);
    let init = &a.instances.iter().find(|i| i.block == "f").unwrap().params[0].init;
    assert_eq!(init.kind, hir::InitKind::Constant(6.0));
    let lowered = lower::program(&a, &lower::Options::default());
    assert!(ogive_graph::verify::verify(&lowered.graph).is_ok());
}

#[test]
fn what_a_constant_if_leaves_out_has_no_parameters() {
    let text = "block f[m](x: [m], bias: bool) -> y: [m] {
          param w, b: [m]
          with = x * w + b
          y = if bias { with } else { x * w }
        }
        model a[m = 4](x: [m]) -> y: [m] { y = f(x, bias: false) }
        model b[m = 4](x: [m]) -> y: [m] { y = f(x, bias: true) }";
    assert_eq!(params(&program(text, "a").1), ["f.w: [m 4]"]);
    assert_eq!(params(&program(text, "b").1), ["f.w: [m 4]", "f.b: [m 4]"]);
}

#[test]
fn a_dim_of_the_caller_is_never_captured_by_a_callee() {
    // v is lifted over a dim that the callee also has, under another meaning
    let text = "block f[a, b](x: [a, b], v: [a]) -> y: [a] { y = sum(x, over: b) * v }
        model m[a = 2, b = 3](x: [a, b], v: [a, b]) -> y: [a, b] { y = f(x, v) }";
    let (_, m) = program(text, "m");
    let lowered = lower::program(&m, &lower::Options::default());
    assert!(ogive_graph::verify::verify(&lowered.graph).is_ok());
    assert_eq!(lowered.outputs[0].dims.iter().map(|d| d.size).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_start_value_without_the_batch_gets_it() {
    let text = "block f[m](x: [m], c: [m]) -> y: [m] { y = x + c }
        model a[m = 4](c: [m]) -> y: [m] { param start: [m] y = share 3 of f(start, c) }";
    let (_, a) = program(text, "a");
    let lowered = lower::program(&a, &lower::Options { batch: Some(2), ..lower::Options::default() });
    assert!(ogive_graph::verify::verify(&lowered.graph).is_ok());
    assert_eq!(lowered.outputs[0].dims.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["batch", "m"]);
}

#[test]
fn sizes_come_from_tensors() {
    let text = "block f[a, b = 2 * a](x: [a]) -> y: [b] { param w: [a, b] y = x @a w }";
    let spec = load(text);
    let shapes = [("x".to_string(), vec![5, 3]), ("w".to_string(), vec![3, 7])].into();
    let (found, out) = elaborate::block_for_tensors(&spec, "f", &Settings::default(), &shapes);
    let found = found.unwrap_or_else(|| panic!("{}", shown(&spec, &out)));
    let lowered = lower::program(&found, &lower::Options::default());
    assert_eq!(lowered.outputs[0].dims.iter().map(|d| (d.name.as_str(), d.size)).collect::<Vec<_>>(), [("batch", 5), ("b", 7)]);
    let wrong = [("x".to_string(), vec![3]), ("w".to_string(), vec![4, 7])].into();
    let (none, out) = elaborate::block_for_tensors(&spec, "f", &Settings::default(), &wrong);
    assert!(none.is_none());
    let message = &out.list[0].message;
    assert!(message.contains("`w`") && message.contains("`x`") && message.contains('4') && message.contains('3'), "{message}");
}

#[test]
fn settings_replace_dims_constants_and_options() {
    let text = "const scale = 2
        model a[m = 4, seq, vocab](tokens: [seq] in vocab, n: int = 1) -> y: [seq, vocab] {
          param e: [vocab, m]
          param o: [m, vocab]
          y = (scale * n * e[tokens]) @m o
        }
        experiment e {
          model a
          data text(webster, context: 16)
          loss cross_entropy(y, next(tokens), over: vocab)
          optimizer adamw(lr: cosine(1e-3, warmup: 20))
          budget steps: 10, batch: 4
          claim validation.bits_per_byte < 2.5
        }
        sweep e { m in [8, 16] seed in [1, 2, 3] }";
    let spec = load(text);
    let pairs = [("m", "32"), ("n", "3"), ("scale", "5"), ("optimizer.lr", "0.5"), ("steps", "7"), ("data.context", "8")];
    let set = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let settings = Settings { set, ..Settings::default() };
    let (found, out) = elaborate::experiment(&spec, "e", &settings);
    let found = found.unwrap_or_else(|| panic!("{}", shown(&spec, &out)));
    let size = |name: &str| found.program.root().dims.iter().find(|(n, _)| n == name).and_then(|(_, a)| found.program.size_of(*a));
    assert_eq!((size("m"), size("seq"), size("vocab")), (Some(32), Some(8), Some(256)));
    assert_eq!((found.optimizer.lr.rate, found.optimizer.lr.warmup, found.budget.steps, found.data.context), (0.5, 20, 7, 8));
    assert_eq!(found.claims.len(), 1);
    let (points, _) = elaborate::sweep(&spec, "e", &Settings::default());
    let points = points.unwrap();
    assert_eq!(points.len(), 6);
    assert_eq!(points[1].set, [("m".to_string(), "8".to_string()), ("seed".to_string(), "2".to_string())]);
    let (none, out) =
        elaborate::experiment(&spec, "e", &Settings { set: vec![("optimizer.rl".into(), "1".into())], ..Settings::default() });
    assert!(none.is_none());
    assert_eq!(out.list[0].code, "arch::set::unknown_key");
    assert_eq!(out.list[0].help.as_deref(), Some("did you mean `optimizer.lr`?"));
}

/// Each text has exactly the errors that it names, all of them at once.
/// Where gradients are accumulated, a mean over the batch is one over the examples that pass together.
#[test]
fn constants_follow_the_batch_that_passes_together() {
    let spec = load(
        "model m[seq, vocab, model = 8](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model]
  param head:  [model, vocab]
  logits = sigma_moe(embed[tokens], expert: 4, width: 2, active: 2) @model head
}
experiment e {
  model     m
  data      text(webster, tokenizer: bytes, context: 4)
  loss      cross_entropy(logits, next(tokens), over: vocab) + balance(router_logit, over: [batch, seq])
  optimizer sgd(lr: 0.1, accumulate: 4)
  budget    steps: 1, batch: 8, seed: 1
}
",
    );
    let holds = |together: Option<u64>, points: f64| {
        let dims = [("vocab", Some(256)), ("batch", together)].into_iter().filter_map(|(n, s)| Some((n.to_owned(), s?))).collect();
        let (found, out) = elaborate::experiment(&spec, "e", &Settings { dims, training: true, ..Settings::default() });
        let found = found.unwrap_or_else(|| panic!("{}", shown(&spec, &out)));
        let graph = lower::experiment(&found, &lower::Options { batch: together, ..lower::Options::default() }).graph;
        let is_log = |x: f64| (x.abs() - points.ln()).abs() < 1e-12;
        graph.region.nodes.iter().any(|n| matches!(n.op, ogive_graph::Op::Const(ogive_graph::Scalar::Float(x)) if is_log(x)))
    };
    assert!(holds(None, 32.0) && !holds(None, 8.0));
    assert!(holds(Some(2), 8.0) && !holds(Some(2), 32.0));
}

#[test]
fn all_independent_errors_are_reported() {
    let cases: &[(&str, &[&str])] = &[
        (
            "block f[a, b](x: [a], y: [b]) -> z: [a] { z = x + y  u = x @b y  w = nope(x) tap t = zz }",
            &["arch::shape::not_subset", "arch::shape::over_missing", "arch::name::unknown_block", "arch::name::unknown"],
        ),
        ("block f[a](x: [a]) -> y: [a] { y = z + x  z = y * 2 }", &["arch::name::cycle"]),
        ("block f[a](x: [a]) -> y: [a] { y = f(x) }", &["arch::name::recursive_block"]),
        ("block f[a = 10, b = a / 3](x: [a]) -> y: [b] { param w: [a, b] y = x @a w }", &["arch::shape::indivisible"]),
        ("block f[a = 2 ^ 41](x: [a]) -> y: [a] { y = x }", &["arch::shape::size_range"]),
        (
            "block g[a, b](x: [a]) -> y: [b] { param w: [a, b] y = x @a w }
          block f[a](x: [a]) -> y: [a] { z = g(x, b: 8) y = sum(z, over: b) + x }",
            &["arch::shape::escaping_dim"],
        ),
        (
            "block g[a, b](x: [a]) -> y: [b] { param w: [a, b] y = x @a w }
          block f[a](x: [a]) -> y: [a] { y = g(x) }",
            &["arch::name::dim_unbound"],
        ),
        ("block f[a](x: [a]) -> y: [a] { y = stack 0 of g(x) } block g[a](x: [a]) -> y: [a] { y = x }", &["arch::repeat::count"]),
        ("block f[a](x: [a]) -> y: [a] { y = if x > 0 { x } else { 0 * x } }", &["arch::constant::not_constant"]),
        ("block f[a](x: [a]) -> y: [a] { y = x[modle as b] }", &["arch::name::unknown_dim"]),
        (
            "cell c[a](x: [a]) -> y: [a] { state s: [a] = 0 s = prev s + x y = s } block f[a](x: [a]) -> y: [a] { y = c(x) }",
            &["arch::cell::not_scanned"],
        ),
        (
            "block f[a = 4](x: [a]) -> y: [a] { p = top(5, x, over: a) y = x[p] @a x  z = x + top(1, x, over: a) }",
            &["arch::selection::count", "arch::call::tensor_needed"],
        ),
        (
            "block f[a, b](x: [a], v: [b]) -> y: [] { p = top(1, x, over: a) q = top(1, x, over: a) y = x[p] @a x[q]  z = v[p]  w = x * x[p] }",
            &["arch::selection::mixed", "arch::selection::dim_missing", "arch::selection::mixed"],
        ),
    ];
    for (text, codes) in cases {
        let (spec, loaded) = Spec::load("test.arch", (*text).to_string(), &NoImports);
        assert!(!loaded.has_errors(), "{}", shown(&spec, &loaded));
        let out = ogive_lang::check::check(&spec, &Settings::default());
        let mut found: Vec<&str> = out.list.iter().filter(|d| d.severity == ogive_lang::Severity::Error).map(|d| d.code).collect();
        let mut wanted = codes.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{text}\n{}", shown(&spec, &out));
        assert!(out.list.iter().all(|d| d.help.is_some()), "{text}\n{}", shown(&spec, &out));
    }
}

/// Deep, wide and exponential specs end in a diagnostic soon.
#[test]
fn hostile_specs_end_soon() {
    let chain: String = (0..3_000).map(|i| format!("block f{i}[a](x: [a]) -> y: [a] {{ y = f{}(x) }}\n", i + 1)).collect();
    let double: String = (0..60).map(|i| format!("block f{i}[a](x: [a]) -> y: [a] {{ y = f{0}(f{0}(x)) }}\n", i + 1)).collect();
    let sum = format!("block f[a](x: [a]) -> y: [a] {{ y = x{} }}", " + x".repeat(20_000));
    let equations: String = (1..5_000).map(|i| format!("e{i} = e{} + 1\n", i - 1)).collect();
    let last = "block f60[a](x: [a]) -> y: [a] { y = x }";
    let specs = [
        (format!("{chain}block f3000[a](x: [a]) -> y: [a] {{ y = x }}"), Some("arch::call::too_many"), 30),
        (format!("{double}{last}"), Some("arch::call::too_many"), 60),
        (sum, Some("arch::syntax::too_deep"), 10),
        (format!("block f[a](x: [a]) -> y: [a] {{ e0 = x\n{equations} y = e4999 }}"), None, 10),
        ("block f[a = 9223372036854775808](x: [a]) -> y: [a] { y = x }".to_string(), Some("arch::shape::size_range"), 5),
        (
            "block f[a = 2 ^ 40, b = 2 ^ 40, c = a](x: [a]) -> y: [a, b, c] { param p: [a, b, c] y = p * x }".to_string(),
            Some("arch::shape::too_large"),
            5,
        ),
    ];
    for (text, code, seconds) in specs {
        let start = std::time::Instant::now();
        let shown: String = text.chars().take(80).collect();
        let (spec, loaded) = Spec::load("test.arch", text, &NoImports);
        let (_, out) = elaborate::open_block(&spec, if spec.block(spec.root, "f0").is_some() { "f0" } else { "f" }, &Settings::default());
        assert_eq!(loaded.list.iter().chain(&out.list).next().map(|d| d.code), code, "{shown}");
        assert!(start.elapsed().as_secs() < seconds, "{:?}", start.elapsed());
    }
}
