//! `ogive cost`: figures of papers, the tree of blocks.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ogive(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(root()).env("NO_COLOR", "1").output().expect("ogive runs")
}

#[track_caller]
fn costs(args: &[&str]) -> Vec<Value> {
    let output = ogive(&[&["--json", "cost"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a list of costs")
}

fn find<'a>(all: &'a [Value], name: &str) -> &'a Value {
    all.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// A number, which JSON holds as text where it may be large.
#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

fn millions(n: u64, digits: usize) -> String {
    format!("{:.digits$}", n as f64 / 1e6)
}

const LAYERS: &str = "specs/papers/experts/attention_layers.arch";

/// Model, millions of multiply-adds, millions of numbers kept: SwitchHead's tables, from the formulas of its program.
const ATTENTION: &[(&str, &str, &str)] = &[
    ("xl_small", "453.4", "3.46"),
    ("xl_small_2_heads", "453.4", "1.36"),
    ("switch_small", "170.4", "0.76"),
    ("switch_small_3", "202.5", "0.76"),
    ("xl_big", "5368.7", "20.97"),
    ("switch_big", "2358.1", "5.58"),
    ("switch_big_2_heads", "1955.6", "2.92"),
    ("xl_enwik8", "1610.6", "10.49"),
    ("switch_enwik8", "709.3", "2.79"),
    ("rotary_small", "560.9", "6.08"),
    ("switch_rotary_small", "285.6", "1.32"),
    ("rotary_big", "6442.5", "37.75"),
    ("switch_rotary_big", "3365.5", "10.04"),
];

#[test]
fn layers_cost_what_the_papers_say_in_their_way_of_counting() {
    let all = costs(&[LAYERS, "--convention", "switchhead-paper"]);
    assert_eq!(all.len(), ATTENTION.len() + 6);
    let only = |name: &str| {
        let counted = find(&all, name)["convention"].as_array().expect("counted blocks").clone();
        assert_eq!(counted.len(), 1, "{name}");
        counted[0].clone()
    };
    for (name, macs, kept) in ATTENTION {
        let one = only(name);
        assert_eq!(millions(number(&one["macs"]), 1), *macs, "{name}");
        assert_eq!(millions(number(&one["kept"]), 2), *kept, "{name}");
        assert!(number(&one["true_macs"]) > 0 && number(&one["true_kept"]) > 0, "{one}");
    }
    let share = |key: &str, of: &str, whole: &str| {
        let share = 100.0 * number(&only(of)[key]) as f64 / number(&only(whole)[key]) as f64;
        format!("{share:.1}")
    };
    assert_eq!([share("macs", "switch_big", "xl_big"), share("kept", "switch_big", "xl_big")], ["43.9", "26.6"]);
    for key in ["macs", "true_macs"] {
        let pairs = [("sigma_small", "dense_small"), ("sigma_enwik8", "dense_enwik8"), ("sigma_big", "dense_big")];
        assert_eq!(pairs.map(|(of, whole)| share(key, of, whole)), ["25.3", "25.3", "12.8"], "{key}");
    }
}

#[test]
fn the_true_count_stands_beside_the_papers() {
    let all = costs(&[LAYERS, "--convention", "switchhead-paper"]);
    let truth = |name: &str| number(&find(&all, name)["convention"][0]["true_macs"]);
    let (t, seen, model, wide) = (256, 512, 412, 10 * 41);
    // Queries and outputs of every position; keys, values and offsets of all that are seen; scores, offsets' scores and mixing of all pairs.
    assert_eq!(truth("xl_small"), 2 * t * model * wide + 3 * seen * model * wide + 3 * t * seen * wide);
    // Of the values and outputs, those of the chosen experts; routers of each head; gates applied to what experts gave.
    let (head, key, expert, active) = (2, 76, 5, 2);
    let wide = head * key;
    let projected = (t + seen + seen) * model * wide + active * (seen + t) * model * wide;
    let routed = expert * head * model * (seen + t) + active * seen * wide;
    assert_eq!(truth("switch_small"), projected + routed + 3 * t * seen * wide);
    // Causal attention computes the pairs that are seen, keys and values alike.
    let (t, model, wide) = (1024, 1024, 1024);
    assert_eq!(truth("rotary_big"), 4 * t * model * wide + 2 * wide * t * (t + 1) / 2);
}

#[test]
fn models_have_as_many_parameters_as_the_papers_say() {
    // Millions, to the digits that are printed.
    let said: &[(&str, &[(&str, &str)])] = &[
        (
            "dense/transformer_xl.arch",
            &[
                ("xl_wikitext_small", "47.26"),
                ("xl_wikitext_small_2_heads", "47.26"),
                ("xl_wikitext_small_wide", "237.7"),
                ("xl_wikitext_medium", "262.48"),
                ("xl_enwik8", "41.29"),
            ],
        ),
        (
            "experts/switch_head.arch",
            &[
                ("switch_wikitext_small", "47.25"),
                ("switch_c4_small", "47.25"),
                ("switch_all_wikitext_small", "46.89"),
                ("switch_c4_big", "262.37"),
                ("switch_wikitext_big", "262.48"),
                ("switch_all_big", "259.48"),
                ("switch_enwik8", "41.21"),
            ],
        ),
        (
            "experts/sigma_moe.arch",
            &[
                ("sigma_wikitext_small", "47.26"),
                ("sigma_wikitext_medium", "262.46"),
                ("sigma_enwik8", "41.29"),
                ("sigma_wikitext_small_128", "237.0"),
            ],
        ),
        (
            "experts/product_key_memory.arch",
            &[
                ("memory_wikitext_small", "35.3"),
                ("memory_wikitext_small_large", "47.1"),
                ("memory_wikitext_medium", "191.1"),
                ("memory_wikitext_medium_large", "263.4"),
                ("memory_enwik8", "30.2"),
                ("memory_enwik8_large", "41.2"),
            ],
        ),
    ];
    for (file, models) in said {
        let all = costs(&[&format!("specs/papers/{file}")]);
        for (name, expected) in *models {
            let digits = expected.split('.').nth(1).map_or(0, str::len);
            assert_eq!(millions(number(&find(&all, name)["parameters"]), digits), *expected, "{name}");
        }
    }
}

#[test]
fn a_convention_counts_one_sequence_of_a_batch_too() {
    let spec = "specs/papers/experts/switch_head.arch";
    let batch = costs(&[spec, "--of", "twin", "--convention", "switchhead-paper"]);
    let one = costs(&[spec, "--of", "switch_twin", "--set", "vocab=256", "--convention", "switchhead-paper"]);
    let counted = |all: &[Value]| all[0]["convention"].as_array().expect("counted blocks").clone();
    let (batch, one) = (counted(&batch), counted(&one));
    assert_eq!(batch.len(), 2);
    for (a, b) in batch.iter().zip(&one) {
        for key in ["path", "macs", "kept", "applications"] {
            assert_eq!(a[key], b[key], "{a} {b}");
        }
        // Projections of offsets do not depend on the sequence: a batch shares them.
        assert!(number(&a["true_macs"]) <= number(&b["true_macs"]), "{a} {b}");
    }
    assert_eq!(batch[1]["true_macs"], one[1]["true_macs"]);
}

#[test]
fn an_unknown_convention_is_refused_with_those_there_are() {
    let output = ogive(&["cost", LAYERS, "--convention", "switchhead"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--convention") && said.contains("possible values: switchhead-paper"), "{said}");
    let output = ogive(&["cost", "specs/tour/01_linear.arch", "--convention", "switchhead-paper"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("nothing to count as switchhead-paper"), "{said}");
}

#[test]
fn a_tree_adds_up_to_the_whole() {
    let all = costs(&["specs/tour/05_sharing.arch", "specs/papers/experts/moeut.arch", "specs/papers/experts/switch_head.arch", "--tree"]);
    for cost in &all {
        let blocks = cost["blocks"].as_array().expect("blocks");
        let name = &cost["name"];
        assert_eq!(number(&blocks[0]["parameters"]), number(&cost["parameters"]), "{name}");
        assert_eq!(number(&blocks[0]["macs"]), number(&cost["macs"]), "{name}");
        for key in ["parameters", "macs", "kept"] {
            let under: u64 = blocks.iter().filter(|b| b["depth"] == 1).map(|b| number(&b[key])).sum();
            assert!(under <= number(&blocks[0][key]), "{name}: {key}");
        }
    }
    let moeut = find(&all, "moeut_244m")["blocks"].as_array().expect("blocks").clone();
    let layer = moeut.iter().find(|b| b["block"] == "moeut_layer").expect("the layer");
    assert_eq!(number(&layer["applications"]), 18);
    assert_eq!(layer["path"], "moeut.moeut_group.moeut_layer");
    // Two layers of weights: their router, experts and norms.
    assert_eq!(
        number(&moeut.iter().find(|b| b["block"] == "sigma_moe").expect("it")["parameters"]),
        2 * (387 * 1024 + 2 * 387 * 128 * 1024)
    );
    // A shared layer does as much as one of its own for each application, with a sixth of the parameters.
    let layer = |name: &str| {
        let blocks = find(&all, name)["blocks"].as_array().expect("blocks").clone();
        blocks.into_iter().find(|b| b["block"] == "transformer_layer").expect("the layer")
    };
    let (own, shared) = (layer("unshared"), layer("shared"));
    assert_eq!(own["macs"], shared["macs"]);
    assert_eq!(number(&own["parameters"]), 6 * number(&shared["parameters"]));
}

/// Runs with 256 MiB of addresses, a quarter of what the parameters of MoEUT-244M take.
#[cfg(target_os = "linux")]
fn confined(args: &[&str]) -> Output {
    let script = "ulimit -v 262144 && exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_ogive")]).args(args).current_dir(root());
    command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0").output().expect("a shell")
}

#[cfg(target_os = "linux")]
#[test]
fn checking_and_costing_allocate_no_parameters() {
    let spec = "specs/papers/experts/moeut.arch";
    let checked = confined(&["check", spec]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for (model, parameters) in [("moeut_244m", 243_326_784_u64), ("moeut_1b", 1_040_319_296)] {
        let output = confined(&["--json", "cost", spec, "--of", model, "--tree"]);
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("costs");
        assert_eq!(number(&all[0]["parameters"]), parameters);
        assert_eq!(number(&all[0]["bytes"]["parameters"]), 4 * parameters);
    }
    // The limit holds: what needs the parameters cannot have them.
    let output = confined(&["bench", spec, "--of", "moeut_244m", "--forward", "--runs", "1", "--warm", "0"]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
