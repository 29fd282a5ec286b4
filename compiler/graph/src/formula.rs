//! Formulas in the dims: sums of products of names with whole exponents (of either sign) and rational coefficients, such as
//! `12*depth*model^2 + 2*vocab*model`.
//!
//! Terms stand by falling degree, then by name, so that equal formulas print alike.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub};
use std::sync::Arc;

/// A product of powers of names, without those of exponent 0.
type Monomial = BTreeMap<Arc<str>, i32>;

/// A sum of products of names. No coefficient is 0.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Formula {
    terms: BTreeMap<Monomial, Ratio>,
}

/// A fraction in lowest terms with a positive denominator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ratio {
    over: i128,
    under: i128,
}

impl Ratio {
    fn new(over: i128, under: i128) -> Ratio {
        let divisor = gcd(over.unsigned_abs(), under.unsigned_abs()).max(1) as i128 * under.signum();
        Ratio { over: over / divisor, under: under / divisor }
    }

    fn plus(self, other: Ratio) -> Ratio {
        let over = self.over.checked_mul(other.under).zip(other.over.checked_mul(self.under)).and_then(|(a, b)| a.checked_add(b));
        match over.zip(self.under.checked_mul(other.under)) {
            Some((over, under)) => Ratio::new(over, under),
            None => panic!("a fault in ogive: a coefficient of a formula exceeds 128 bits"),
        }
    }

    fn times(self, other: Ratio) -> Ratio {
        match self.over.checked_mul(other.over).zip(self.under.checked_mul(other.under)) {
            Some((over, under)) => Ratio::new(over, under),
            None => panic!("a fault in ogive: a coefficient of a formula exceeds 128 bits"),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Formula {
    /// A whole number.
    pub fn number(n: u64) -> Formula {
        Formula::term(Monomial::new(), Ratio::new(n.into(), 1))
    }

    /// `over / under`.
    ///
    /// # Panics
    /// Where `under` is 0.
    pub fn fraction(over: i64, under: i64) -> Formula {
        assert!(under != 0, "a fault in ogive: a fraction over 0");
        Formula::term(Monomial::new(), Ratio::new(over.into(), under.into()))
    }

    /// The name of a dim.
    pub fn symbol(name: &str) -> Formula {
        Formula::term([(name.into(), 1)].into(), Ratio::new(1, 1))
    }

    /// One over the name of a dim.
    pub fn reciprocal(name: &str) -> Formula {
        Formula::term([(name.into(), -1)].into(), Ratio::new(1, 1))
    }

    fn term(monomial: Monomial, coefficient: Ratio) -> Formula {
        let terms = if coefficient.over == 0 { BTreeMap::new() } else { [(monomial, coefficient)].into() };
        Formula { terms }
    }

    /// Whether this is 0.
    pub fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The names in it, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.terms.keys().flat_map(|m| m.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Its value where each name has one; `None` where a name has none.
    pub fn value(&self, of: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
        let term = |(monomial, c): (&Monomial, &Ratio)| {
            let start = Some(c.over as f64 / c.under as f64);
            monomial.iter().fold(start, |product, (name, power)| Some(product? * of(name)?.powi(*power)))
        };
        self.terms.iter().map(term).try_fold(0.0, |sum, t| Some(sum + t?))
    }
}

impl AddAssign<&Formula> for Formula {
    fn add_assign(&mut self, other: &Formula) {
        for (monomial, &c) in &other.terms {
            let sum = self.terms.get(monomial).map_or(c, |have| have.plus(c));
            if sum.over == 0 {
                self.terms.remove(monomial);
            } else {
                self.terms.insert(monomial.clone(), sum);
            }
        }
    }
}

impl Add for Formula {
    type Output = Formula;

    fn add(mut self, other: Formula) -> Formula {
        self += &other;
        self
    }
}

impl Neg for Formula {
    type Output = Formula;

    fn neg(mut self) -> Formula {
        for c in self.terms.values_mut() {
            c.over = -c.over;
        }
        self
    }
}

impl Sub for Formula {
    type Output = Formula;

    fn sub(self, other: Formula) -> Formula {
        self + -other
    }
}

impl Mul for &Formula {
    type Output = Formula;

    fn mul(self, other: &Formula) -> Formula {
        let mut product = Formula::default();
        for (a, &x) in &self.terms {
            for (b, &y) in &other.terms {
                let mut monomial = a.clone();
                for (name, power) in b {
                    *monomial.entry(name.clone()).or_default() += power;
                }
                monomial.retain(|_, power| *power != 0);
                product += &Formula::term(monomial, x.times(y));
            }
        }
        product
    }
}

impl Mul for Formula {
    type Output = Formula;

    fn mul(self, other: Formula) -> Formula {
        &self * &other
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let degree = |m: &Monomial| m.values().sum::<i32>();
        let mut terms: Vec<(&Monomial, &Ratio)> = self.terms.iter().collect();
        terms.sort_by_key(|(m, _)| (-degree(m), m.keys().cloned().collect::<Vec<_>>()));
        for (i, (monomial, c)) in terms.into_iter().enumerate() {
            let sign = match (i, c.over < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            f.write_str(sign)?;
            product(f, monomial, c.over.unsigned_abs(), c.under)?;
        }
        Ok(())
    }
}

fn product(f: &mut fmt::Formatter<'_>, monomial: &Monomial, over: u128, under: i128) -> fmt::Result {
    let power = |name: &str, p: i32| if p == 1 { name.to_string() } else { format!("{name}^{p}") };
    let mut above: Vec<String> = monomial.iter().filter(|(_, p)| **p > 0).map(|(n, p)| power(n, *p)).collect();
    let below: Vec<String> = monomial.iter().filter(|(_, p)| **p < 0).map(|(n, p)| power(n, -p)).collect();
    if over != 1 || above.is_empty() {
        above.insert(0, over.to_string());
    }
    f.write_str(&above.join("*"))?;
    if under != 1 {
        write!(f, "/{under}")?;
    }
    for name in below {
        write!(f, "/{name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(name: &str) -> Formula {
        Formula::symbol(name)
    }

    fn n(number: u64) -> Formula {
        Formula::number(number)
    }

    #[test]
    fn the_parameters_of_a_transformer_print_as_a_person_writes_them() {
        let f = n(2) * s("vocab") * s("model") + n(12) * s("depth") * s("model") * s("model") + n(7);
        assert_eq!(f.to_string(), "12*depth*model^2 + 2*model*vocab + 7");
    }

    #[test]
    fn fractions_negative_terms_and_quotients_print_plainly() {
        let half = Formula::fraction(2, 4);
        assert_eq!((half.clone() * s("seq") * s("seq") - half * s("seq")).to_string(), "seq^2/2 - seq/2");
        assert_eq!((n(3) * s("a") * Formula::reciprocal("b")).to_string(), "3*a/b");
        assert_eq!((-s("a")).to_string(), "-a");
        assert_eq!(Formula::default().to_string(), "0");
        assert_eq!((s("a") * Formula::reciprocal("a")).to_string(), "1");
    }

    #[test]
    fn equal_terms_cancel() {
        assert!((s("a") * s("b") - s("b") * s("a")).is_zero());
        assert!(n(0).is_zero());
    }

    #[test]
    fn a_value_needs_every_name() {
        let f = n(3) * s("a") * s("a") + Formula::reciprocal("b");
        let known = |name: &str| if name == "a" { Some(2.0) } else { None };
        assert_eq!(f.value(&known), None);
        assert_eq!(f.value(&|name| known(name).or(Some(4.0))), Some(12.25));
    }

    proptest! {
        #[test]
        fn products_distribute_over_sums(a in 0u64..50, b in 1u64..50, c in 0u64..9) {
            let (x, y) = (n(a) * s("x") + n(c), s("y") - n(b));
            let left = (x.clone() + y.clone()) * x.clone();
            let right = x.clone() * x.clone() + y * x;
            prop_assert_eq!(&left, &right);
            let at = |name: &str| Some(if name == "x" { 3.0 } else { 5.0 });
            let (xv, yv) = ((3 * a + c) as f64, 5.0 - b as f64);
            prop_assert_eq!(left.value(&at), Some((xv + yv) * xv));
        }
    }
}
