//! The command line. What stands here is what `--help` says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fencepost::lease::LeaseConfig;
use fencepost::mutex::{Fairness, MutexConfig};

use crate::times::{self, Wait};
use crate::voice::Voice;

const AFTER: &str = "\
Examples:
  fencepost lock --store sqlite:/var/lib/fencepost/locks.db backup -- restic backup /home
  fencepost lock --wait no nightly -- ./report.sh          (with FENCEPOST_STORE set)
  fencepost elect dispatcher -- ./dispatcher
  fencepost every '30 2 * * *' --tz Europe/Berlin reports -- ./reports.sh
  fencepost once schedule mails welcome-17 --in 10m --props '{\"to\": 17}'
  fencepost once run mails -- ./send-mail
  fencepost ls

What the command runs finds in its environment:
  FENCEPOST_KEY         the lock, the job or the election
  FENCEPOST_TOKEN       the fencing token: show it to whatever is written to, and let that refuse lower ones
  FENCEPOST_IDENTITY    who holds it: --as, or USER@HOST:PID
  FENCEPOST_OCCURRENCE  (every) when the run was due
  FENCEPOST_SCHEDULER, FENCEPOST_ATTEMPT, FENCEPOST_DUE  (once run) whose job it is, which attempt, when it was due

Exit status:
  that of the command that was run, or 128+N if signal N has ended it; and of fencepost itself
  0       all was done
  64      usage: an argument makes no sense
  66      no such key, job or store
  69      the store cannot be reached, or gives no answer
  71      the operating system refuses
  73      (once schedule) the key is taken
  75      not acquired in time; nothing was run
  76      the lock was lost while the command ran
  126     the command cannot be executed
  127     the command was not found
  128+N   fencepost was interrupted by signal N: 130 for Ctrl-C, 143 for SIGTERM";

/// Locks, leadership and jobs for all processes and hosts that share a store: a SQLite file on one host, or a PostgreSQL
/// database.
#[derive(Parser)]
#[command(name = "fencepost", version, after_help = AFTER, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run a command while a lock is held.
    Lock(LockArgs),
    /// Run a command wherever, and as long as, this process leads.
    Elect(ElectArgs),
    /// Run a command on a schedule: each occurrence on one of all hosts, once.
    Every(EveryArgs),
    /// Jobs that run once: schedule, change and list them, and run them.
    Once(OnceArgs),
    /// Show what is held and scheduled, by whom and until when.
    Ls(LsArgs),
    /// Show everything that is known of one key.
    Show(ShowArgs),
    /// Take a lock away from whoever holds it.
    Release(ReleaseArgs),
    /// Torture a store with real processes, and judge what they did. Needs fencepost-torture.
    #[command(disable_help_flag = true)]
    Torture(TortureArgs),
    /// Print the manual page, for `man -l -`, or write those of all verbs into a folder.
    Man(ManArgs),
    /// Print what a shell needs to complete the command line.
    Completions(CompletionsArgs),
}

impl Verb {
    /// How it speaks.
    pub(crate) fn voice(&self) -> Voice {
        match self {
            Verb::Lock(args) => args.common.voice(),
            Verb::Elect(args) => args.common.voice(),
            Verb::Every(args) => args.common.voice(),
            Verb::Once(args) => args.verb.common().voice(),
            Verb::Ls(args) => args.common.voice(),
            Verb::Show(args) => args.common.voice(),
            Verb::Release(args) => args.common.voice(),
            Verb::Torture(_) | Verb::Man(_) | Verb::Completions(_) => Voice { json: false, quiet: false },
        }
    }
}

#[derive(Args)]
pub(crate) struct TortureArgs {
    /// As `fencepost torture --help` has them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    pub(crate) args: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct ManArgs {
    /// The folder: /usr/local/share/man/man1, say.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell. Say `source <(fencepost completions bash)` in ~/.bashrc, or write it to where it looks for such files.
    pub(crate) shell: Shell,
}

#[derive(Args)]
pub(crate) struct Common {
    /// Where the store is: sqlite:PATH, a file that all processes of one host share, and that is made if it is not there
    /// (unless one only looks); or postgres://USER@HOST/DATABASE. A password is better kept in the environment than in the list of processes.
    #[arg(long, env = "FENCEPOST_STORE", hide_env_values = true, value_name = "URL")]
    pub(crate) store: String,
    /// Speak JSON: results as one object on standard output, what happens meanwhile as one object a line on standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but what went wrong.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Common {
    pub(crate) fn voice(&self) -> Voice {
        Voice { json: self.json, quiet: self.quiet }
    }
}

/// What becomes of the child when the lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLoss {
    /// SIGTERM while the lease still lasts, if it cannot be renewed, and SIGKILL when it ends. Where the lease is over
    /// already (the lock was taken away, or the host slept), SIGTERM at once and SIGKILL after --grace.
    Signal,
    /// SIGKILL at once.
    Kill,
    /// Nothing: it is only said.
    Ignore,
}

#[derive(Args)]
pub(crate) struct LossArgs {
    /// What becomes of the command when the lock is lost.
    #[arg(long, value_enum, default_value_t = OnLoss::Signal)]
    pub(crate) on_loss: OnLoss,
    /// How long the command has between SIGTERM and SIGKILL: less than half of the ttl (of the interval, for elect).
    /// [default: a sixth of it]
    #[arg(long, value_name = "TIME", value_parser = times::length)]
    pub(crate) grace: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct HoldArgs {
    /// How long the lock outlives a holder that dies. It is renewed three times as often.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = times::length)]
    pub(crate) ttl: Duration,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    /// Who holds it, as others see it. [default: USER@HOST:PID]
    #[arg(long = "as", value_name = "WHO")]
    pub(crate) who: Option<String>,
}

/// A renewal may take so long before it is sent again, whatever the time to live.
const RENEW_TIMEOUT_MAX: Duration = Duration::from_secs(2);
const DELAY_BOUND_MAX: Duration = Duration::from_millis(50);
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);

impl HoldArgs {
    /// A lock with this time to live: three renewals and one that fails fit into it.
    pub(crate) fn mutex(&self) -> MutexConfig {
        MutexConfig {
            lease: LeaseConfig {
                ttl: self.ttl,
                refresh_interval: self.ttl / 3,
                renew_timeout: RENEW_TIMEOUT_MAX.min(self.ttl / 4),
                delay_bound: DELAY_BOUND_MAX.min(self.ttl / 20),
                ..LeaseConfig::default()
            },
            poll_interval: POLL_INTERVAL_MAX.min(self.ttl / 2),
            fairness: Fairness::Fifo,
            ..MutexConfig::default()
        }
    }
}

#[derive(Args)]
#[command(after_help = LOCK_AFTER)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// How long to wait for the lock: a length of time, forever, or no. Whoever asked first enters first.
    #[arg(long, value_name = "TIME", default_value = "forever", value_parser = Wait::parse)]
    pub(crate) wait: Wait,
    /// The lock.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) key: String,
    /// What to run, and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

const LOCK_AFTER: &str = "\
The lock is released when the command has ended, and its status is passed on. SIGINT, SIGTERM, SIGHUP, SIGQUIT, \
SIGUSR1 and SIGUSR2 are passed to the command, which may take as long as it likes; whoever sends SIGINT \
or SIGTERM again, half a second later or more, has it killed. It runs in a process group of its own, to which signals go; \
if standard input is a terminal, it stays in the group of the terminal, which sends Ctrl-C to both.

If fencepost itself is killed (SIGKILL, or any signal that is not named above), nobody looks after the command any \
more: it goes on, and the lock is free after its ttl. On Linux, `-- setpriv --pdeathsig KILL COMMAND` ends it, too.

Exit status: that of the command; 75 if the lock was not to be had in time, 76 if it was lost while the command ran \
(unless --on-loss ignore), 64, 69, 71, 126, 127, 128+N as `fencepost --help` has them.";

#[derive(Args)]
#[command(after_help = ELECT_AFTER)]
pub(crate) struct ElectArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    /// How long the leadership of a process lasts that is not heard of. It is renewed three times as often.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = times::length)]
    pub(crate) interval: Duration,
    /// The name of this process, which the others see when it leads. [default: USER@HOST:PID]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) process: Option<String>,
    /// End when the command ends, with its status, instead of standing for election again.
    #[arg(long)]
    pub(crate) once: bool,
    /// How long to pause before standing for election again after the command has ended, so that others may lead.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = times::length)]
    pub(crate) pause: Duration,
    /// The name of the election.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// What to run, and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

const ELECT_AFTER: &str = "\
At most one of all processes that stand leads; `fencepost ls` shows which. If leadership is lost, the command is \
ended as --on-loss says, and is run again when this process leads again. If the command ends by itself, leadership \
is given up, and this process stands for election again after --pause. Run it under a supervisor that restarts it \
after a crash of the host or of fencepost.

It runs until it is interrupted. Signals are passed to the command as `fencepost lock` does it: it may take as long \
as it likes to end, and is killed if SIGINT or SIGTERM comes again.

Exit status: 128+N when signal N has interrupted it; with --once that of the command, or 76; others as `fencepost \
--help` has them.";

/// What becomes of occurrences that fall due during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlap {
    /// They are dropped.
    Skip,
    /// The latest of them is run when the running one has ended.
    BufferOne,
}

#[derive(Args)]
#[command(
    after_help = EVERY_AFTER,
    override_usage = "fencepost every [OPTIONS] --store <URL> <CRON> <NAME> -- <COMMAND>...\n       fencepost every [OPTIONS] --store <URL> --interval <TIME> <NAME> -- <COMMAND>..."
)]
pub(crate) struct EveryArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// Run so long after the end of the last run, instead of by a cron expression; at once, if there was none.
    #[arg(long, value_name = "TIME", value_parser = times::length, conflicts_with = "tz")]
    pub(crate) interval: Option<Duration>,
    /// The time zone of the cron expression, as the IANA database names it. [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) tz: Option<String>,
    /// What becomes of an occurrence that nobody ran in time: skip, run-once (the latest one missed is run at once), or a
    /// length of time (each one that is not older than that is run).
    #[arg(long, value_name = "WHAT", default_value = "run-once", value_parser = misfire)]
    pub(crate) misfire: fencepost::job::Misfire,
    /// How late an occurrence may begin before it counts as missed.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = times::length)]
    pub(crate) missed_after: Duration,
    /// What becomes of occurrences that fall due while the command runs, or makes up for one that was missed.
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    pub(crate) overlap: Overlap,
    /// When, as a cron expression. With --interval there is none, and the name of the job stands in its place.
    #[arg(value_name = "CRON")]
    pub(crate) first: String,
    /// The name of the job.
    #[arg(value_name = "NAME")]
    pub(crate) second: Option<String>,
    /// What to run, and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn misfire(text: &str) -> Result<fencepost::job::Misfire, String> {
    use fencepost::job::Misfire;
    match text {
        "skip" => Ok(Misfire::Skip),
        "run-once" => Ok(Misfire::RunOnce),
        _ => times::length(text)
            .map(|within| Misfire::CatchUp { within })
            .map_err(|accepted| format!("{accepted}; or skip, or run-once")),
    }
}

const EVERY_AFTER: &str = "\
Start it with the same arguments on every host: each occurrence is run by one of them, once, also if that one dies \
over it. The store's clock says what is due. An expression has five fields (minute, hour, day of month, month, day \
of week), or six with seconds before them, or is one of @hourly, @daily, @weekly, @monthly, @yearly. The command \
gets no standard input.

It runs until it is interrupted: then a command that runs gets SIGTERM, and SIGKILL after --grace.

Exit status: 128+N when signal N has interrupted it; 64, 69, 71 as `fencepost --help` has them. A command that fails \
is reported on standard error and recorded; the next occurrence is run all the same.";

#[derive(Args)]
pub(crate) struct OnceArgs {
    #[command(subcommand)]
    pub(crate) verb: OnceVerb,
}

#[derive(Subcommand)]
pub(crate) enum OnceVerb {
    /// Schedule a job for a moment.
    Schedule(ScheduleArgs),
    /// Schedule a job anew, whatever has become of it.
    Reschedule(ScheduleArgs),
    /// Do not run a job; or remove it, if it is dead. A run that has begun goes on.
    Cancel(CancelArgs),
    /// List what is kept of a scheduler's jobs.
    List(ListArgs),
    /// Run the jobs of a scheduler with a command of your own as they fall due.
    Run(RunArgs),
}

impl OnceVerb {
    fn common(&self) -> &Common {
        match self {
            OnceVerb::Schedule(args) | OnceVerb::Reschedule(args) => &args.common,
            OnceVerb::Cancel(args) => &args.common,
            OnceVerb::List(args) => &args.common,
            OnceVerb::Run(args) => &args.common,
        }
    }
}

#[derive(Args)]
#[command(after_help = SCHEDULE_AFTER)]
#[group(id = "when", required = true, multiple = false, args = ["at", "after"])]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// When it is to begin, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00[Europe/Berlin]; at once, if that is past.
    #[arg(long, value_name = "MOMENT")]
    pub(crate) at: Option<String>,
    /// After how long it is to begin, such as 10m.
    #[arg(long = "in", value_name = "TIME", value_parser = times::length)]
    pub(crate) after: Option<Duration>,
    /// The time zone of a moment that names no offset.
    #[arg(long, value_name = "ZONE", conflicts_with = "after")]
    pub(crate) tz: Option<String>,
    /// What the handler gets: any JSON, 10,000 bytes at most. null, if not said; when rescheduled, what it was.
    #[arg(long, value_name = "JSON")]
    pub(crate) props: Option<String>,
    /// The name of the scheduler.
    pub(crate) scheduler: String,
    /// The key of the job: 1 to 150 characters.
    pub(crate) key: String,
}

const SCHEDULE_AFTER: &str = "\
A job is a key and some JSON, never a command: what is done about it is decided where `fencepost once run` was \
started.

Exit status: 73 if the key is scheduled, running or dead already, 66 if there is nothing to reschedule, 75 if \
somebody else has changed it meanwhile; others as `fencepost --help` has them.";

#[derive(Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The name of the scheduler.
    pub(crate) scheduler: String,
    /// The key of the job.
    pub(crate) key: String,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The name of the scheduler.
    pub(crate) scheduler: String,
}

/// How often a job may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delivery {
    /// Once or never: what was begun is not begun again, even if its host died.
    AtMostOnce,
    /// Until it has succeeded, --attempts times at most.
    AtLeastOnce,
}

#[derive(Args)]
#[command(after_help = RUN_AFTER)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// How often a job may be begun. All runners of a scheduler should say the same.
    #[arg(long, value_enum, default_value_t = Delivery::AtMostOnce)]
    pub(crate) delivery: Delivery,
    /// How often a job is begun at most, at least once.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How long to wait after the first failure; twice as long after each other one.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = times::length)]
    pub(crate) backoff: Duration,
    /// How many jobs to run at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) slots: u16,
    /// The name of the scheduler.
    pub(crate) scheduler: String,
    /// The handler, and its arguments.
    #[arg(last = true, required = true, value_name = "HANDLER")]
    pub(crate) command: Vec<OsString>,
}

const RUN_AFTER: &str = "\
The handler is run once for each job. It finds the job's props as JSON on its standard input, and FENCEPOST_KEY, \
FENCEPOST_SCHEDULER, FENCEPOST_ATTEMPT, FENCEPOST_DUE and FENCEPOST_TOKEN in its environment. Status 0 means that \
the job is done.

Whoever may write to the store decides which keys and props the handler gets, and when; what is executed is decided \
here only. Treat both as input from others: do not pass them to a shell unquoted.

It runs until it is interrupted: then handlers that run get SIGTERM, and SIGKILL after --grace.

Exit status: 128+N when signal N has interrupted it; 64, 69, 71 as `fencepost --help` has them.";

#[derive(Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Show only what begins with this: mutex/, job/rep, flag/.
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

#[derive(Args)]
#[command(after_help = "Exit status: 66 if there is no such key; others as `fencepost --help` has them.")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The key, or its full name as `fencepost ls` shows it, such as mutex/backup.
    pub(crate) key: String,
}

#[derive(Args)]
#[command(after_help = RELEASE_AFTER)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Say that you mean it: its holder did not ask for this.
    #[arg(long, required = true)]
    pub(crate) force: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Who releases it, as it is logged. [default: USER@HOST:PID]
    #[arg(long = "as", value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// The lock, or its full name, such as mutex/backup or job/reports.
    pub(crate) key: String,
}

const RELEASE_AFTER: &str = "\
The next one who waits enters at once. Whoever held the lock learns of that when it tries to renew it, which is \
within a third of its ttl: until then both work. It does no harm to what checks fencing tokens. A holder that has \
died needs no release: its lock is free after its ttl.

Only the acquisition that was shown is released: never one that came after it.

Exit status: 66 if nobody holds it, 75 if another one holds it by now; others as `fencepost --help` has them.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_ttl_makes_a_lock_that_is_safe() {
        for ttl in [250, 1_000, 4_000, 15_000, 3_600_000].map(Duration::from_millis) {
            let loss = LossArgs { on_loss: OnLoss::Signal, grace: None };
            let hold = HoldArgs { ttl, loss, who: None };
            assert_eq!(hold.mutex().validate(), Ok(()), "{ttl:?}");
        }
    }
}
