//! Learning rates over time, computed on the host in f64. Steps count from 1.

use ogive_lang::hir::experiment::{Schedule, ScheduleKind};
use std::f64::consts::PI;

/// The rate of a step out of `steps`.
///
/// All kinds rise in a straight line over `warmup` steps to `rate`. Then: constant stays; linear and cosine fall to `end` at the last
/// step; Noam (Vaswani et al. 2017, "Attention is all you need", section 5.3, scaled to `rate` at its peak) falls with the inverse square
/// root of the step.
pub fn rate(schedule: &Schedule, step: u64, steps: u64) -> f64 {
    let (step_, warmup) = (step as f64, schedule.warmup as f64);
    if step < schedule.warmup {
        return schedule.rate * step_ / warmup;
    }
    let progress = if steps > schedule.warmup { (step_ - warmup) / (steps as f64 - warmup) } else { 1.0 }.clamp(0.0, 1.0);
    let fall = schedule.rate - schedule.end;
    match schedule.kind {
        ScheduleKind::Constant => schedule.rate,
        ScheduleKind::Linear => schedule.rate - fall * progress,
        ScheduleKind::Cosine => schedule.end + fall * 0.5 * (1.0 + (PI * progress).cos()),
        ScheduleKind::Noam => schedule.rate * (warmup.max(1.0) / step_.max(1.0)).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind, warmup: u64) -> Schedule {
        Schedule { kind, rate: 2.0, warmup, end: 0.5 }
    }

    #[test]
    fn every_schedule_rises_to_its_rate_at_the_end_of_warm_up() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Noam] {
            let s = schedule(kind, 10);
            assert!((rate(&s, 1, 100) - 0.2).abs() < 1e-12 && (rate(&s, 5, 100) - 1.0).abs() < 1e-12, "{kind:?}");
            assert!((rate(&s, 10, 100) - 2.0).abs() < 1e-12, "{kind:?}");
        }
    }

    #[test]
    fn linear_and_cosine_end_at_their_end_and_halve_the_way_in_the_middle() {
        for kind in [ScheduleKind::Linear, ScheduleKind::Cosine] {
            let s = schedule(kind, 20);
            assert!((rate(&s, 60, 100) - 1.25).abs() < 1e-12 && (rate(&s, 100, 100) - 0.5).abs() < 1e-12, "{kind:?}");
            assert!((rate(&s, 200, 100) - 0.5).abs() < 1e-12, "{kind:?}");
        }
    }

    #[test]
    fn noam_falls_with_the_inverse_square_root() {
        let s = schedule(ScheduleKind::Noam, 100);
        assert!((rate(&s, 400, 1000) - 1.0).abs() < 1e-12);
        assert!((rate(&schedule(ScheduleKind::Noam, 0), 4, 1000) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn constant_without_warm_up_is_constant_and_short_runs_stay_finite() {
        assert_eq!(rate(&schedule(ScheduleKind::Constant, 0), 1, 10).to_bits(), 2.0f64.to_bits());
        assert!(rate(&schedule(ScheduleKind::Cosine, 10), 10, 10).is_finite());
        assert!(rate(&schedule(ScheduleKind::Linear, 0), 1, 0).is_finite());
    }
}
