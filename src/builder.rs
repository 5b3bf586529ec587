//! Builders: a configuration, one field after the other, and checked at its end.

/// Makes the builder of a configuration that has `terms()`. What is not set stays as it was when the builder began.
macro_rules! builder {
    (
        $(#[$meta:meta])*
        $builder:ident of $config:ident, or $error:ident;
        $( $(#[$doc:meta])* $setter:ident($type:ty) sets $first:ident $(.$rest:ident)*; )*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[must_use = "a builder makes nothing before `build`"]
        pub struct $builder($config);

        impl $builder {
            $(
                $(#[$doc])*
                pub fn $setter(mut self, $setter: $type) -> Self {
                    self.0.$first $(.$rest)* = $setter.into();
                    self
                }
            )*

            /// The configuration, checked.
            ///
            /// # Errors
            ///
            #[doc = concat!("[`", stringify!($error), "`], as `", stringify!($config), "::terms` says.")]
            pub fn build(self) -> Result<$config, $error> {
                self.0.terms()?;
                Ok(self.0)
            }
        }
    };
}

pub(crate) use builder;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use crate::calendar::Schedule;
    use crate::flag::FlagConfig;
    use crate::job::{JobConfig, Misfire, Overlap};
    use crate::lease::LeaseConfig;
    use crate::locker::LockerConfig;
    use crate::mutex::{Fairness, MutexConfig};
    use crate::once::{Delivery, OnceConfig};
    use crate::time::{Ppm, Span};
    use crate::writer::{self, Arbiter, WriterConfig};

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn lock() -> MutexConfig {
        let fields = MutexConfig::builder().ttl(secs(60)).refresh_interval(secs(11)).jitter(Ppm(12));
        let fields = fields.renew_timeout(secs(13)).drift(Ppm(14)).delay_bound(secs(15));
        let fields = fields.poll_interval(secs(16)).fairness(Fairness::Fifo).lock_delay(secs(17));
        fields.metrics_group("g").build().unwrap()
    }

    #[test]
    #[allow(clippy::needless_update, reason = "in a laboratory, a configuration has one field more")]
    fn each_setter_sets_its_own_field() {
        let lease = LeaseConfig {
            ttl: secs(60),
            refresh_interval: secs(11),
            jitter: Ppm(12),
            renew_timeout: secs(13),
            drift: Ppm(14),
            delay_bound: secs(15),
            ..LeaseConfig::default()
        };
        let (poll_interval, fairness, lock_delay) = (secs(16), Fairness::Fifo, secs(17));
        let metrics_group = Some("g".into());
        assert_eq!(lock(), MutexConfig { lease, poll_interval, fairness, lock_delay, metrics_group });

        let schedule = || Schedule::Interval(Span::from_secs(60));
        let built = JobConfig::builder(schedule()).misfire(Misfire::Skip).grace(secs(21));
        let built = built.overlap(Overlap::BufferOne).look_interval(secs(22)).mutex(lock()).build().unwrap();
        let (misfire, overlap) = (Misfire::Skip, Overlap::BufferOne);
        let (grace, look_interval, mutex) = (secs(21), secs(22), lock());
        let fields =
            JobConfig { misfire, grace, overlap, look_interval, mutex, ..JobConfig::new(schedule()) };
        assert_eq!(built, fields);

        let built = OnceConfig::builder(Delivery::AtMostOnce).slots(31).page(32).refresh_interval(secs(33));
        let built = built.retention(secs(34)).mutex(lock()).build().unwrap();
        let (refresh_interval, retention, mutex) = (secs(33), secs(34), lock());
        let fields = OnceConfig::new(Delivery::AtMostOnce);
        assert_eq!(built, OnceConfig { slots: 31, page: 32, refresh_interval, retention, mutex, ..fields });

        let built = LockerConfig::builder().mutex(lock()).lock_timeout(secs(41)).max_lock_duration(secs(42));
        let built =
            built.preemption_timeout(secs(43)).lock_delay(None).storm_bound(secs(45)).build().unwrap();
        let fields = LockerConfig {
            mutex: lock(),
            lock_timeout: Some(secs(41)),
            max_lock_duration: Some(secs(42)),
            preemption_timeout: Some(secs(43)),
            lock_delay: None,
            storm_bound: Some(secs(45)),
            ..LockerConfig::default()
        };
        assert_eq!(built, fields);

        let built =
            FlagConfig::builder("f", "p").interval(secs(51)).check_interval(secs(52)).timeout(secs(3));
        let built = built.jitter(Ppm(54)).drift(Ppm(55)).delay_bound(secs(5)).standby(true).build().unwrap();
        let fields = FlagConfig {
            interval: secs(51),
            check_interval: secs(52),
            timeout: secs(3),
            jitter: Ppm(54),
            drift: Ppm(55),
            delay_bound: secs(5),
            standby: true,
            ..FlagConfig::new("f", "p")
        };
        assert_eq!(built, fields);

        let backoff = writer::Backoff { steps: 7, ..writer::Backoff::default() };
        let built = WriterConfig::builder().term(secs(61)).retry_interval(secs(62)).backoff(backoff);
        let built = built.slots(63).arbiter(Arbiter::Lock(lock())).build().unwrap();
        let (term, retry_interval, arbiter) = (secs(61), secs(62), Arbiter::Lock(lock()));
        let fields =
            WriterConfig { term, retry_interval, backoff, slots: 63, arbiter, ..WriterConfig::default() };
        assert_eq!(built, fields);
    }

    #[test]
    fn what_makes_no_sense_is_not_built() {
        assert!(MutexConfig::builder().ttl(Duration::ZERO).build().is_err());
        assert!(JobConfig::builder(Schedule::Interval(Span::ZERO)).build().is_err());
        assert!(OnceConfig::builder(Delivery::AtMostOnce).slots(0).build().is_err());
        assert!(LockerConfig::builder().storm_bound(Duration::ZERO).build().is_err());
        assert!(FlagConfig::builder("f", "").build().is_err());
        assert!(WriterConfig::builder().slots(0).build().is_err());
    }
}
