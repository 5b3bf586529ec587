//! The original's behaviour, and each of its flaws, as a story of two processes at one table.

use fencepost::time::Draw;

use super::*;
use crate::store::Touch;
use crate::upstream::bench::{A, B, Bench, serve_at};

fn bench(config: OcmConfig) -> Bench<OcmFlag> {
    Bench::new(OcmConfig { jitter: Ppm::ZERO, ..config })
}

/// The bench names its callers by numbers that are no names of the world.
fn two() -> Bench<OcmFlag> {
    bench(OcmConfig::default())
}

fn raise(bench: &mut Bench<OcmFlag>, who: crate::subject::InstanceId) {
    bench.ask(who, Request::Build);
    bench.settle(who);
    assert_eq!(bench.told(who), [Event::Raised]);
}

#[test]
fn a_check_is_three_statements_and_the_next_comes_half_an_interval_later() {
    let mut bench = two();
    bench.ask(A, Request::Build);
    for call in [Call::Now, Call::Load, Call::Write] {
        assert_eq!((bench.under_way(A), bench.believes(A)), (vec![call], false));
        bench.serve(A);
    }
    assert_eq!((bench.told(A), bench.wakes_in(A)), (vec![Event::Raised], Some(15_000)));
    bench.ask(B, Request::Build);
    bench.settle(B);
    assert_eq!((bench.told(B), bench.wakes_in(B)), (vec![], Some(15_000)));
    bench.ask(B, Request::Build);
    assert_eq!(bench.told(B), [Event::Rejected]);
}

#[test]
fn every_delay_is_jittered() {
    let config = OcmConfig { jitter: Ppm::percent(20), ..OcmConfig::default() };
    let now = |draw| Now { draw: Draw(draw), ..Now::default() };
    assert_eq!(config.check().after(now(0)), Instant::ZERO + Span::from_secs(12));
    assert!(config.check().after(now(u32::MAX)) < Instant::ZERO + Span::from_secs(18));
    assert_eq!(config.retry().after(now(0)), Instant::ZERO + Span::from_millis(2_400));
    assert_eq!(OcmConfig { jitter: Ppm::ONE, ..config }.check().after(now(0)), Instant::ZERO);
}

#[test]
fn a_row_is_taken_over_when_it_is_older_than_the_interval() {
    let mut bench = two();
    raise(&mut bench, A);
    for (millis, raised) in [(30_000, false), (30_001, true)] {
        let mut bench = two();
        raise(&mut bench, A);
        bench.at(millis).ask(B, Request::Build);
        bench.settle(B);
        assert_eq!(bench.believes(B), raised, "at {millis} ms");
    }
}

#[test]
fn whoever_has_the_name_of_the_holder_raises_however_old_the_row_is() {
    let mut bench = two();
    raise(&mut bench, A);
    bench.at(99_000).wake(A);
    assert!(matches!([bench.serve(A), bench.serve(A), bench.serve(A)][2], Touch::Renewed(_)));
    assert!(bench.believes(A));
}

#[test]
fn g1_a_process_that_stood_still_leads_beside_its_successor_until_its_next_check_ends() {
    let mut bench = two();
    raise(&mut bench, A);
    bench.at(30_001).ask(B, Request::Build);
    bench.settle(B);
    assert!(bench.believes(A) && bench.believes(B));
    bench.wake(A);
    bench.serve(A);
    assert!(bench.believes(A), "the check has not ended");
    bench.serve(A);
    assert_eq!((bench.told(A), bench.believes(A)), (vec![Event::Lowered], false));
}

#[test]
fn g2_closing_leaves_the_bit_set_and_closing_again_kills_the_process() {
    let mut bench = two();
    raise(&mut bench, A);
    bench.ask(A, Request::Close);
    assert_eq!((bench.told(A), bench.wakes_in(A)), (vec![Event::Closed], None));
    bench.at(30_001).ask(B, Request::Build);
    bench.settle(B);
    assert!(bench.believes(A) && bench.believes(B));
    bench.ask(A, Request::Close);
    assert_eq!(bench.told(A), [Event::Panicked]);
}

#[test]
fn g2_a_check_that_is_under_way_goes_on_after_closing_and_renews() {
    let mut bench = two();
    raise(&mut bench, A);
    bench.at(15_000).wake(A);
    bench.ask(A, Request::Close);
    bench.settle(A);
    assert_eq!((bench.told(A), bench.wakes_in(A), bench.believes(A)), (vec![Event::Closed], None, true));
    assert_eq!(bench.table.as_ref().map(|(row, _)| row.version), Some(fencepost::store::Revision(2)));
}

#[test]
fn g3_slow_statements_that_meet_their_time_outs_let_another_one_in() {
    let mut bench = bench(OcmConfig { interval: Span::from_secs(1), ..OcmConfig::default() });
    bench.ask(A, Request::Build);
    bench.at(10).serve(A);
    bench.at(900).serve(A);
    bench.at(1_000).serve(A);
    assert!(bench.believes(A), "the row says that it was written at 10 ms");
    bench.at(1_011).ask(B, Request::Build);
    bench.settle(B);
    assert!(bench.believes(A) && bench.believes(B), "and A checks at 1500 ms");
    assert_eq!(bench.wakes_in(A), Some(489));
}

#[test]
fn g4_two_processes_of_one_name_both_lead() {
    let mut bench = bench(OcmConfig { namesakes: true, ..OcmConfig::default() });
    raise(&mut bench, A);
    bench.at(1_000).ask(B, Request::Build);
    bench.serve(B);
    bench.serve(B);
    assert!(matches!(bench.serve(B), Touch::Renewed(mark) if mark.by.instance == A));
    bench.at(15_000).wake(A);
    bench.settle(A);
    assert!(bench.believes(A) && bench.believes(B));
}

#[test]
fn g7_a_context_that_ends_fails_every_statement_from_then_on() {
    let mut bench = bench(OcmConfig { build_deadline: Some(Span::from_secs(20)), ..OcmConfig::default() });
    raise(&mut bench, A);
    bench.at(15_000).wake(A);
    bench.settle(A);
    assert!(bench.believes(A));
    bench.at(30_000).wake(A);
    assert_eq!((bench.under_way(A), bench.told(A)), (vec![], vec![Event::Lowered]));
    assert_eq!((bench.wakes_in(A), bench.knot(A)), (Some(3_000), Some(Knot::Context)));
    bench.at(33_000).wake(A);
    assert_eq!((bench.under_way(A), bench.wakes_in(A)), (vec![], Some(3_000)));
}

#[test]
fn g9_one_error_lowers_a_flag_whose_row_is_fresh() {
    let mut bench = two();
    raise(&mut bench, A);
    bench.at(15_000).wake(A);
    bench.fail(A);
    assert_eq!((bench.told(A), bench.wakes_in(A)), (vec![Event::Lowered], Some(3_000)));
    bench.at(18_000).wake(A);
    bench.settle(A);
    assert_eq!(bench.told(A), [Event::Raised]);
    bench.at(33_000).wake(A);
    assert_eq!(bench.wakes_in(A), Some(1_000));
    bench.at(34_000).wake(A);
    assert_eq!((bench.told(A), bench.under_way(A)), (vec![Event::Lowered], vec![]));
}

#[test]
fn a_write_asks_for_the_version_and_an_insert_for_no_row() {
    let write = |holder| Write {
        holder: Identity(holder),
        timestamp: StoreTime::ZERO,
        interval: Span::from_secs(30),
    };
    let mut shelf = None;
    let mut done = |op: TableOp, by| serve_at::<Table>(&op, &mut shelf, 1, by);
    assert_eq!(done(TableOp::Insert(write(1)), A), (TableAnswer::Done(true), Touch::Wrote(None)));
    let (answer, touch) = done(TableOp::Insert(write(2)), B);
    assert!(answer == TableAnswer::Done(false) && matches!(touch, Touch::Refused(_)));
    for (version, holder, own, written) in [(2, 1, true, false), (1, 2, true, false), (1, 2, false, true)] {
        let version = fencepost::store::Revision(version);
        let (answer, _) = done(TableOp::Update { version, own, write: write(holder) }, B);
        assert_eq!(answer, TableAnswer::Done(written), "{version:?} {holder}");
    }
    let (answer, _) = done(TableOp::Load, A);
    let TableAnswer::Row(Some(row)) = answer else { panic!("there is a row") };
    assert_eq!((row.holder, row.version), (Identity(2), fencepost::store::Revision(2)));
}
