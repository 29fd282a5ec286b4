//! What `--set` changes of an experiment.

use ogive_lang::hir::experiment::{Experiment, Tokenizer};
use ogive_lang::{Diagnostics, NoImports, Settings, Spec, codes, elaborate};

const SPEC: &str = "\
model tiny[seq, vocab, model = 16](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model] ~ normal(0.1)
  logits = embed[tokens] @model embed
}
experiment first {
  model      tiny
  data       text(webster, tokenizer: bytes, context: 16, split: [0.8, 0.1, 0.1])
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  adam(lr: 1e-3, betas: [0.8, 0.95])
  budget     steps: 10, batch: 4
  every 5    { evaluate validation }
}
sweep first { every in [1, 2] }
";

fn with(set: &[(&str, &str)]) -> (Option<Experiment>, Diagnostics) {
    let (spec, found) = Spec::load("spec.arch", SPEC.to_owned(), &NoImports);
    assert!(found.list.is_empty(), "{:?}", found.list);
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    elaborate::experiment(&spec, "first", &Settings { set, dims: [("vocab".to_owned(), 256)].into(), training: true })
}

#[test]
fn the_tokenizer_and_each_beta_can_be_set() {
    let made = |set: &[(&str, &str)]| with(set).0.expect("an experiment");
    let plain = made(&[]);
    assert_eq!((plain.optimizer.betas, plain.data.tokenizer), ([0.8, 0.95], Tokenizer::Bytes));
    let set = made(&[("optimizer.beta2", "0.999"), ("tokenizer", "chars")]);
    assert_eq!((set.optimizer.betas, set.data.tokenizer), ([0.8, 0.999], Tokenizer::Chars));
    let (none, found) = with(&[("tokenizer", "words")]);
    assert!(none.is_none() && found.list[0].code == codes::set::TYPE && found.list[0].message.contains("`bytes` or `chars`"), "{found:?}");
}

#[test]
fn what_only_the_spec_can_say_is_told_so_each_for_itself() {
    let (none, found) = with(&[("every", "2"), ("data.split", "1"), ("claim", "1"), ("modle", "3")]);
    assert!(none.is_none());
    let said: Vec<&str> = found.list.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    let help = |i: usize| found.list[i].help.as_deref().unwrap_or("");
    assert!(said[0].contains("written in the spec alone") && help(0).contains("every 100") && help(0).contains("`update.every`"));
    assert!(help(1).contains("split: [0.9") && help(1).contains("`budget.steps`"), "{}", help(1));
    assert_eq!(help(3), "did you mean `model`?");
    let (spec, _) = Spec::load("spec.arch", SPEC.to_owned(), &NoImports);
    let (_, found) = elaborate::sweep(&spec, "first", &Settings::default());
    assert!(found.list[0].help.as_deref().is_some_and(|h| h.contains("every 100")), "{found:?}");
}
