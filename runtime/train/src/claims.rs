//! Claims: comparisons of measured numbers that an experiment makes, checked at its end.

use crate::data::Part;
use crate::run::Evaluation;
use ogive_lang::hir::experiment::{Claim, Quantity};
use std::collections::BTreeMap;

/// A checked claim.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// As written.
    pub text: String,
    /// Left side, if everything in it was measured.
    pub left: Option<f64>,
    /// Right side.
    pub right: Option<f64>,
    /// Whether it holds. What was not measured does not hold.
    pub holds: bool,
}

/// The parts of the data that claims speak of.
pub fn parts(claims: &[Claim]) -> Vec<Part> {
    let mut measured = Vec::new();
    for claim in claims {
        claim.left.measured(&mut measured);
        claim.right.measured(&mut measured);
    }
    let mut parts: Vec<Part> = measured.into_iter().map(|(part, _)| part).collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

/// Checks claims against the last evaluations.
pub fn check(claims: &[Claim], evaluations: &BTreeMap<Part, Evaluation>) -> Vec<Outcome> {
    let measured = |part: Part, metric: &str| evaluations.get(&part)?.get(metric);
    let value = |quantity: &Quantity| quantity.value(&measured);
    let outcome = |claim: &Claim| {
        let (left, right) = (value(&claim.left), value(&claim.right));
        let holds = left.zip(right).is_some_and(|(l, r)| claim.relation.holds(l, r));
        Outcome { text: claim.text.clone(), left, right, holds }
    };
    claims.iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogive_lang::Span;
    use ogive_lang::hir::experiment::Relation;

    #[test]
    fn a_claim_holds_by_what_was_measured_and_never_by_what_was_not() {
        let measured = |metric: &str| Quantity::Measured { split: Part::Validation, metric: metric.into() };
        let claim = |left, relation, right| Claim { text: String::new(), left, relation, right, span: Span::default() };
        let half = Quantity::Div(Box::new(measured("loss")), Box::new(Quantity::Number(2.0)));
        let claims = [
            claim(measured("loss"), Relation::Less, Quantity::Number(3.0)),
            claim(half.clone(), Relation::AtLeast, Quantity::Number(1.5)),
            claim(half, Relation::Less, measured("loss")),
            claim(measured("accuracy"), Relation::Greater, Quantity::Number(0.0)),
        ];
        let evaluation = Evaluation { values: vec![("loss".into(), 2.0)], routing: Vec::new(), contexts: 1 };
        let outcomes = check(&claims, &BTreeMap::from([(Part::Validation, evaluation)]));
        assert_eq!(outcomes.iter().map(|o| o.holds).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!((outcomes[0].left, outcomes[3].left), (Some(2.0), None));
        assert_eq!(parts(&claims), [Part::Validation]);
    }
}
