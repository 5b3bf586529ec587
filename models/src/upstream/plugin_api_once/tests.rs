use fencepost::time::{Span, Timestamp};

use super::*;
use crate::store::Simulated;
use crate::subject::InstanceId;
use crate::upstream::bench::{A, B, Bench};
use crate::upstream::kv::KvAnswer;
use crate::upstream::table::TableOp;

const MINUTE: u64 = 60_000;
/// What the draw of the bench makes of the jitter.
const JITTER: u64 = 50;
const K: JobId = JobId(0);
const L: JobId = JobId(1);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Both schedulers have started.
fn bench(config: PluginApiOnceConfig) -> Bench<PluginApiOnce> {
    let mut bench = Bench::new(config);
    for who in [A, B] {
        start(&mut bench, who);
    }
    bench
}

fn usual() -> Bench<PluginApiOnce> {
    bench(PluginApiOnceConfig::default())
}

fn start(bench: &mut Bench<PluginApiOnce>, who: InstanceId) {
    bench.ask(who, Request::Start);
    assert_eq!(bench.settle(who).told(who), []);
}

/// `who` schedules a job to run so many milliseconds from now.
fn schedule(bench: &mut Bench<PluginApiOnce>, who: InstanceId, job: JobId, millis: u64) -> Event {
    bench.ask(who, Request::Schedule(job, Span::from_millis(millis)));
    let told = bench.settle(who).told(who);
    assert_eq!(told.len(), 1);
    told[0]
}

/// `who` is woken then, and all its requests are carried out.
fn pass(bench: &mut Bench<PluginApiOnce>, who: InstanceId, millis: u64) -> Vec<Event> {
    bench.at(millis).wake(who);
    bench.settle(who).told(who)
}

/// Second by second until then. Gives what the two were told.
fn pass_both(bench: &mut Bench<PluginApiOnce>, from: u64, to: u64) -> [Vec<Event>; 2] {
    let mut told = [vec![], vec![]];
    for second in from / 1_000..=to / 1_000 {
        for who in [A, B] {
            told[who.index()].extend(pass(bench, who, second * 1_000));
        }
    }
    told
}

fn finish(bench: &mut Bench<PluginApiOnce>, who: InstanceId) {
    bench.ask(who, Request::Finish);
    assert_eq!(bench.settle(who).told(who), [Event::Ended]);
}

fn is_stored(bench: &Bench<PluginApiOnce>, job: JobId) -> bool {
    bench.table.contains_key(&Key::Job(job))
}

fn is_locked(bench: &Bench<PluginApiOnce>, job: JobId) -> bool {
    bench.table.contains_key(&Key::Mutex(job))
}

/// A has scheduled K for the tenth second, and B has heard of it.
fn both_know() -> Bench<PluginApiOnce> {
    let mut bench = Bench::new(PluginApiOnceConfig::default());
    start(&mut bench, A);
    assert_eq!(schedule(&mut bench, A, K, 10_000), Event::Accepted(K, Some(at(10_000))));
    start(&mut bench, B);
    assert_eq!(bench.wakes_in(B), Some(10_000 + JITTER));
    bench
}

#[test]
fn a_job_runs_once_and_leaves_nothing() {
    let mut bench = both_know();
    assert_eq!(pass(&mut bench, A, 10_000), [], "the jitter is not over");
    assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
    assert!(bench.believes(A) && is_locked(&bench, K));
    assert_eq!(pass(&mut bench, B, 10_050), []);
    finish(&mut bench, A);
    assert!(!bench.believes(A) && bench.table.is_empty());
    assert_eq!(pass(&mut bench, B, 11_050), []);
    assert!(bench.table.is_empty());
    for who in [A, B] {
        assert_eq!(bench.wakes_in(who), Some(5 * MINUTE + JITTER - 11_050), "it polls");
        assert_eq!(bench.under_way(who), []);
    }
}

#[test]
fn what_is_there_already_is_declined_and_so_is_what_comes_before_the_start() {
    let mut bench = Bench::<PluginApiOnce>::new(PluginApiOnceConfig::default());
    assert_eq!(schedule(&mut bench, A, K, 1_000), Event::Declined(K));
    bench.ask(A, Request::Start);
    bench.ask(A, Request::Schedule(K, Span::from_secs(10)));
    assert_eq!(bench.under_way(A), [Call::List], "it waits for the start");
    assert_eq!(bench.settle(A).told(A), [Event::Accepted(K, Some(at(10_000)))]);
    start(&mut bench, B);
    assert_eq!(schedule(&mut bench, B, K, 20_000), Event::Declined(K));
    bench.ask(A, Request::Start);
    bench.ask(A, Request::Finish);
    assert_eq!(bench.told(A), [Event::Rejected, Event::Rejected]);
}

#[test]
fn a_start_that_cannot_list_fails_and_may_be_repeated() {
    let mut bench = Bench::<PluginApiOnce>::new(PluginApiOnceConfig::default());
    bench.ask(A, Request::Start);
    bench.ask(A, Request::Schedule(K, Span::from_secs(10)));
    bench.fail(A);
    assert_eq!(bench.told(A), [Event::NotStarted, Event::Declined(K)]);
    assert_eq!(bench.wakes_in(A), None);
    start(&mut bench, A);
}

#[test]
fn an_insert_whose_answer_is_lost_is_declined_and_runs_all_the_same() {
    let mut bench = usual();
    bench.ask(A, Request::Schedule(K, Span::from_secs(10)));
    bench.serve(A);
    assert_eq!(bench.under_way(A), [Call::Save(0)]);
    bench.serve_in_vain(A);
    assert_eq!(bench.settle(A).told(A), [Event::Declined(K)]);
    assert_eq!(pass(&mut bench, A, 5 * MINUTE + JITTER), []);
    assert_eq!(pass(&mut bench, A, 5 * MINUTE + 2 * JITTER), [Event::Began(K, at(10_000))]);
}

#[test]
fn callbacks_of_one_process_run_one_after_the_other() {
    let mut bench = usual();
    schedule(&mut bench, A, K, 10_000);
    schedule(&mut bench, A, L, 10_000);
    assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
    assert!(is_locked(&bench, L), "and the other one waits with its mutex");
    bench.ask(A, Request::Finish);
    assert_eq!(bench.settle(A).told(A), [Event::Ended, Event::Began(L, at(10_000))]);
    assert_eq!(pass(&mut bench, B, 5 * MINUTE + JITTER), []);
    assert!(!is_stored(&bench, K) && is_stored(&bench, L));
}

#[test]
fn a_cancelled_job_runs_nowhere_whoever_cancels_it() {
    for (who, cancels_by_key) in [(A, false), (A, true), (B, false)] {
        let mut bench = both_know();
        if cancels_by_key {
            bench = self::bench(PluginApiOnceConfig { cancels_by_key, ..Default::default() });
            schedule(&mut bench, A, K, 10_000);
        }
        bench.ask(who, Request::Cancel(K));
        assert_eq!(bench.settle(who).told(who), [Event::Accepted(K, None)]);
        assert!(bench.table.is_empty());
        assert_eq!(pass_both(&mut bench, 10_000, 20_000), [vec![], vec![]]);
    }
}

#[test]
fn o1_a_callback_whose_record_was_not_deleted_runs_again() {
    let mut bench = usual();
    schedule(&mut bench, A, K, 10_000);
    assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
    bench.ask(A, Request::Finish);
    assert_eq!((bench.told(A), bench.under_way(A)), (vec![Event::Ended], vec![Call::Delete(0)]));
    bench.fail(A);
    bench.settle(A);
    assert!(is_stored(&bench, K) && !is_locked(&bench, K));
    pass(&mut bench, A, 5 * MINUTE + JITTER);
    assert_eq!(pass(&mut bench, A, 5 * MINUTE + 2 * JITTER), [Event::Began(K, at(10_000))]);
}

#[test]
fn o2_who_reads_a_replica_that_lags_runs_it_again() {
    for lags in [false, true] {
        let mut bench = both_know();
        assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
        assert_eq!(pass(&mut bench, B, 10_050), []);
        bench.lag();
        finish(&mut bench, A);
        if !lags {
            bench.catch_up();
        }
        let told = pass(&mut bench, B, 11_050);
        assert_eq!(told.contains(&Event::Began(K, at(10_000))), lags);
    }
}

#[test]
fn o3_a_timer_of_the_old_time_deletes_the_new_record() {
    let mut bench = both_know();
    bench.ask(A, Request::Reschedule(K, Span::from_secs(20)));
    assert_eq!(bench.settle(A).told(A), [Event::Accepted(K, Some(at(20_000)))]);
    assert_eq!(pass(&mut bench, B, 10_050), []);
    assert!(!is_stored(&bench, K));
    assert_eq!(pass_both(&mut bench, 11_000, 400_000), [vec![], vec![]], "it never runs");
}

#[test]
fn o4_a_job_that_is_scheduled_beside_its_old_timer_is_not_started_and_is_deleted_by_it() {
    let mut bench = both_know();
    bench.ask(B, Request::Cancel(K));
    assert_eq!(bench.settle(B).told(B), [Event::Accepted(K, None)]);
    assert_eq!(schedule(&mut bench, A, K, 20_000), Event::Accepted(K, Some(at(20_000))));
    assert_eq!(bench.wakes_in(A), Some(10_000 + JITTER), "that is the old one");
    assert_eq!(pass_both(&mut bench, 1_000, 400_000), [vec![], vec![]], "it never runs");
    assert!(!is_stored(&bench, K));
}

#[test]
fn o4_to_cancel_it_is_to_wait_for_ever_for_a_goroutine_that_never_was() {
    let mut bench = both_know();
    bench.ask(B, Request::Cancel(K));
    bench.settle(B).told(B);
    schedule(&mut bench, A, K, 20_000);
    bench.ask(A, Request::Cancel(K));
    assert_eq!(pass_both(&mut bench, 0, 10 * MINUTE), [vec![], vec![]]);
    assert!(is_locked(&bench, K), "and the mutex is kept alive meanwhile");
    assert_eq!((bench.knot(A), bench.knot(B)), (Some(Knot::Nothing), None));
}

#[test]
fn o5_the_fourth_read_that_fails_deletes_the_job_unrun() {
    let mut bench = usual();
    schedule(&mut bench, A, K, 10_000);
    for fails in 0..4 {
        bench.at(10_050 + fails * 1_050).wake(A);
        bench.serve(A);
        assert_eq!((bench.under_way(A), is_stored(&bench, K)), (vec![Call::Read(0)], true));
        bench.fail(A);
        let told = if fails < 3 { vec![] } else { vec![Event::GaveUp(K)] };
        assert_eq!(bench.settle(A).told(A), told);
    }
    assert!(bench.table.is_empty());
}

#[test]
fn o6_who_cancels_a_job_that_waits_for_its_mutex_waits_for_ever() {
    let mut bench = both_know();
    assert_eq!(pass(&mut bench, B, 10_050), [Event::Began(K, at(10_000))]);
    assert_eq!(pass(&mut bench, A, 10_500), []);
    // A's goroutine tries again in a second. Half a second later somebody cancels.
    bench.at(11_000).ask(A, Request::Cancel(K));
    bench.settle(A);
    assert_eq!(pass(&mut bench, A, 11_500), []);
    bench.at(11_700);
    finish(&mut bench, B);
    assert_eq!(pass(&mut bench, A, 12_000), [], "the canceller is first, and waits for the goroutine");
    assert_eq!(pass_both(&mut bench, 13_000, 10 * MINUTE), [vec![], vec![]]);
    assert!(is_locked(&bench, K));
    assert_eq!(bench.knot(A), Some(Knot::Holder));
}

#[test]
fn o7_a_callback_that_asks_about_its_own_job_stops_every_callback_of_its_process() {
    for ask in [
        Request::Cancel(K),
        Request::Schedule(K, Span::from_secs(20)),
        Request::Schedule(L, Span::from_secs(20)),
    ] {
        let mut bench = bench(PluginApiOnceConfig { asks_inside: true, ..Default::default() });
        schedule(&mut bench, A, K, 10_000);
        schedule(&mut bench, A, JobId(2), 11_000);
        assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
        bench.ask(A, ask);
        bench.settle(A);
        bench.ask(A, Request::Finish);
        let told = pass_both(&mut bench, 11_000, 10 * MINUTE);
        let is_its_own = ask != Request::Schedule(L, Span::from_secs(20));
        assert_eq!(told[0].contains(&Event::Began(JobId(2), at(11_000))), !is_its_own);
        assert_eq!(told == [vec![], vec![]], is_its_own);
        assert_eq!(is_locked(&bench, K), is_its_own);
        assert_eq!(bench.knot(A), is_its_own.then_some(Knot::Callback));
    }
}

#[test]
fn o8_two_who_cancel_what_runs_elsewhere_wait_for_each_other() {
    for only_one in [true, false] {
        let mut bench = usual();
        schedule(&mut bench, A, K, 10_000);
        schedule(&mut bench, B, L, 10_000);
        assert_eq!(pass(&mut bench, A, 10_050), [Event::Began(K, at(10_000))]);
        assert_eq!(pass(&mut bench, B, 10_050), [Event::Began(L, at(10_000))]);
        bench.at(11_000).ask(A, Request::Cancel(L));
        if !only_one {
            bench.ask(B, Request::Cancel(K));
        }
        for who in [A, B] {
            bench.settle(who).ask(who, Request::Finish);
            assert_eq!(bench.settle(who).told(who), [Event::Ended]);
        }
        let told = pass_both(&mut bench, 12_000, 10 * MINUTE);
        assert_eq!(told[0].contains(&Event::Accepted(L, None)), only_one);
        assert_eq!(told[1], []);
        assert_eq!(is_locked(&bench, K) && is_locked(&bench, L), !only_one);
        assert_eq!([A, B].map(|who| bench.knot(who)), [(!only_one).then_some(Knot::Table); 2]);
    }
}

#[test]
fn o9_to_cancel_a_job_without_a_key_kills_the_process() {
    let mut bench = bench(PluginApiOnceConfig { without_key: Some(K), ..Default::default() });
    assert_eq!(schedule(&mut bench, A, K, 1_000), Event::Declined(K));
    bench.ask(A, Request::Cancel(K));
    assert_eq!((bench.told(A), bench.wakes_in(A)), (vec![Event::Panicked], None));
    bench.ask(A, Request::Start);
    assert_eq!((bench.told(A), bench.under_way(A)), (vec![], vec![]));
}

#[test]
fn o10_a_job_that_is_deleted_while_the_pages_are_turned_hides_another_one_until_the_next_poll() {
    let mut bench = Bench::<PluginApiOnce>::new(PluginApiOnceConfig { page: 2, ..Default::default() });
    start(&mut bench, A);
    for job in 0..3 {
        schedule(&mut bench, A, JobId(job), 10_000);
    }
    bench.ask(B, Request::Start);
    bench.serve(B);
    bench.ask(A, Request::Cancel(K));
    bench.settle(A).settle(B);
    // A dies.
    assert_eq!(pass(&mut bench, B, 10_050), [Event::Began(L, at(10_000))]);
    finish(&mut bench, B);
    assert_eq!(bench.wakes_in(B), Some(5 * MINUTE - 10_000), "it knows of no other job");
    pass(&mut bench, B, 5 * MINUTE + JITTER);
    assert_eq!(pass(&mut bench, B, 5 * MINUTE + 2 * JITTER), [Event::Began(JobId(2), at(10_000))]);
}

#[test]
fn o11_a_server_whose_clock_is_ahead_runs_it_early() {
    let mut bench = Bench::<PluginApiOnce>::new(PluginApiOnceConfig::default());
    start(&mut bench, A);
    schedule(&mut bench, A, K, 10 * MINUTE);
    bench.put_clock_forward(B, 9 * MINUTE);
    start(&mut bench, B);
    assert_eq!(pass(&mut bench, B, MINUTE + JITTER), [Event::Began(K, at(10 * MINUTE))]);
    finish(&mut bench, B);
    assert_eq!(pass(&mut bench, A, 10 * MINUTE + JITTER), [], "for all");
}

#[test]
fn a_process_that_comes_back_runs_what_is_overdue_at_once() {
    let mut bench = Bench::<PluginApiOnce>::new(PluginApiOnceConfig::default());
    start(&mut bench, A);
    schedule(&mut bench, A, K, 10_000);
    // A dies. B is started a minute later.
    bench.at(MINUTE);
    start(&mut bench, B);
    assert_eq!(bench.wakes_in(B), Some(JITTER));
    assert_eq!(pass(&mut bench, B, MINUTE + JITTER), [Event::Began(K, at(10_000))]);
}

#[test]
fn no_row_is_the_lock() {
    let mut bench = both_know();
    pass(&mut bench, A, 10_050);
    assert!(is_locked(&bench, K) && is_stored(&bench, K));
    assert_eq!(<Table<Key, Value> as Simulated>::lock(&mut bench.table), None);
    let get = TableOp::Row(Key::Job(K), crate::upstream::kv::KvOp::Get { wall: at(0) });
    let (answer, _) = crate::upstream::bench::serve_at::<Table<Key, Value>>(&get, &mut bench.table, 0, B);
    assert_eq!(answer.row(), KvAnswer::Found(Some(Value::Time(at(10_000)))));
}
