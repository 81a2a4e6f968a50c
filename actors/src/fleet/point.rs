//! Point: what a span of a node's life comes to: a minute, and as many of them as an hour has.

use protocol::admin::HealthState;
use protocol::telemetry::Telemetry;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Figures that can be put together; empty while nothing came. Stored by the codec: it knows no added field, and a
/// history of another shape is begun afresh.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    pub healthy_ms: u64,
    pub degraded_ms: u64,
    pub down_ms: u64,
    /// Telemetry messages; what is a mean is by these.
    messages: u32,
    cpu_pct: Spread,
    memory_pct: Spread,
    disk_free_bytes_min: Option<u64>,
    /// Between messages of one process.
    net_in_bytes: u64,
    net_out_bytes: u64,
    cameras: u32,
    cameras_on_line_min: Option<u32>,
    spool_waiting_max: u64,
    spool_oldest_ms_max: u64,
    /// Of the messages that told of one.
    answer_ms: Spread,
    rtt_us_max: u64,
    skew_ms_max: u64,
}

/// Many values of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Spread {
    count: u32,
    sum: f64,
    max: f32,
}

/// A point as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub healthy_s: f64,
    pub degraded_s: f64,
    pub down_s: f64,
    pub messages: u32,
    pub cpu_pct_mean: Option<f64>,
    pub cpu_pct_max: Option<f32>,
    pub memory_pct_mean: Option<f64>,
    pub memory_pct_max: Option<f32>,
    pub disk_free_bytes_min: Option<u64>,
    pub net_in_bytes: u64,
    pub net_out_bytes: u64,
    pub cameras: u32,
    pub cameras_on_line_min: Option<u32>,
    pub spool_waiting_max: u64,
    pub spool_oldest_ms_max: u64,
    pub answer_ms_mean: Option<f64>,
    pub answer_ms_max: Option<f32>,
    pub rtt_us_max: u64,
    pub clock_skew_ms_max: u64,
}

impl Point {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// It was in this state for so long.
    pub fn lived(&mut self, state: HealthState, span: Duration) {
        let ms = match state {
            HealthState::Healthy => &mut self.healthy_ms,
            HealthState::Degraded => &mut self.degraded_ms,
            HealthState::Down => &mut self.down_ms,
        };
        *ms += span.as_millis() as u64;
    }

    /// A message came, after `before`.
    pub fn told(
        &mut self,
        before: Option<&Telemetry>,
        telemetry: &Telemetry,
        rtt: Option<Duration>,
        skew_ms: Option<i64>,
    ) {
        let system = &telemetry.system;
        self.messages += 1;
        self.cpu_pct.add(system.cpu_pct);
        if system.memory_total_bytes > 0 {
            let share = system.memory_used_bytes as f64 / system.memory_total_bytes as f64;
            self.memory_pct.add((share * 100.0) as f32);
        }
        if system.disk_total_bytes > 0 {
            self.disk_free_bytes_min = least(self.disk_free_bytes_min, Some(system.disk_free_bytes));
        }
        if let Some(before) = before.filter(|before| before.boot == telemetry.boot) {
            self.net_in_bytes += system.net_in_bytes.saturating_sub(before.system.net_in_bytes);
            self.net_out_bytes += system.net_out_bytes.saturating_sub(before.system.net_out_bytes);
        }
        let on_line = telemetry.cameras.iter().filter(|camera| camera.on_line).count();
        self.cameras = self.cameras.max(telemetry.cameras.len() as u32);
        self.cameras_on_line_min = least(self.cameras_on_line_min, Some(on_line as u32));
        if let Some(spool) = telemetry.spool {
            self.spool_waiting_max = self.spool_waiting_max.max(spool.waiting);
            self.spool_oldest_ms_max = self.spool_oldest_ms_max.max(spool.oldest_ms);
        }
        let answered = telemetry.inference.map(|inference| inference.answer_ms_mean).filter(|mean| *mean > 0.0);
        answered.into_iter().for_each(|mean| self.answer_ms.add(mean));
        self.rtt_us_max = self.rtt_us_max.max(rtt.map_or(0, |rtt| rtt.as_micros() as u64));
        self.skew_ms_max = self.skew_ms_max.max(skew_ms.map_or(0, i64::unsigned_abs));
    }

    /// Another span of the same node.
    pub fn merge(&mut self, other: &Self) {
        self.healthy_ms += other.healthy_ms;
        self.degraded_ms += other.degraded_ms;
        self.down_ms += other.down_ms;
        self.messages = self.messages.saturating_add(other.messages);
        self.cpu_pct.merge(other.cpu_pct);
        self.memory_pct.merge(other.memory_pct);
        self.disk_free_bytes_min = least(self.disk_free_bytes_min, other.disk_free_bytes_min);
        self.net_in_bytes = self.net_in_bytes.saturating_add(other.net_in_bytes);
        self.net_out_bytes = self.net_out_bytes.saturating_add(other.net_out_bytes);
        self.cameras = self.cameras.max(other.cameras);
        self.cameras_on_line_min = least(self.cameras_on_line_min, other.cameras_on_line_min);
        self.spool_waiting_max = self.spool_waiting_max.max(other.spool_waiting_max);
        self.spool_oldest_ms_max = self.spool_oldest_ms_max.max(other.spool_oldest_ms_max);
        self.answer_ms.merge(other.answer_ms);
        self.rtt_us_max = self.rtt_us_max.max(other.rtt_us_max);
        self.skew_ms_max = self.skew_ms_max.max(other.skew_ms_max);
    }

    pub fn row(&self) -> Row {
        let seconds = |ms: u64| ms as f64 / 1e3;
        Row {
            healthy_s: seconds(self.healthy_ms),
            degraded_s: seconds(self.degraded_ms),
            down_s: seconds(self.down_ms),
            messages: self.messages,
            cpu_pct_mean: self.cpu_pct.mean(),
            cpu_pct_max: self.cpu_pct.most(),
            memory_pct_mean: self.memory_pct.mean(),
            memory_pct_max: self.memory_pct.most(),
            disk_free_bytes_min: self.disk_free_bytes_min,
            net_in_bytes: self.net_in_bytes,
            net_out_bytes: self.net_out_bytes,
            cameras: self.cameras,
            cameras_on_line_min: self.cameras_on_line_min,
            spool_waiting_max: self.spool_waiting_max,
            spool_oldest_ms_max: self.spool_oldest_ms_max,
            answer_ms_mean: self.answer_ms.mean(),
            answer_ms_max: self.answer_ms.most(),
            rtt_us_max: self.rtt_us_max,
            clock_skew_ms_max: self.skew_ms_max,
        }
    }
}

impl Spread {
    fn add(&mut self, value: f32) {
        self.merge(Self { count: 1, sum: value.into(), max: value });
    }

    fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }

    fn most(self) -> Option<f32> {
        (self.count > 0).then_some(self.max)
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::samples::telemetry;
    use protocol::{Epoch, Timestamp, codec};

    fn told(change: impl Fn(&mut Telemetry)) -> Telemetry {
        let mut telemetry = telemetry(Timestamp::from_micros(0));
        change(&mut telemetry);
        telemetry
    }

    #[test]
    fn a_minute_has_means_and_extremes_of_its_messages() {
        let first = told(|told| told.system.cpu_pct = 10.0);
        let second = told(|told| {
            (told.system.cpu_pct, told.system.net_in_bytes) = (30.0, 1700);
            told.cameras[0].on_line = false;
            told.system.disk_free_bytes = 7;
        });
        let mut point = Point::default();
        point.told(None, &first, None, None);
        point.told(Some(&first), &second, Some(Duration::from_millis(3)), Some(-40));
        point.lived(HealthState::Healthy, Duration::from_secs(50));
        point.lived(HealthState::Down, Duration::from_secs(10));
        let row = point.row();
        assert_eq!((row.healthy_s, row.down_s, row.messages), (50.0, 10.0, 2));
        assert_eq!((row.cpu_pct_mean, row.cpu_pct_max), (Some(20.0), Some(30.0)));
        assert_eq!((row.net_in_bytes, row.disk_free_bytes_min), (700, Some(7)));
        assert_eq!((row.cameras, row.cameras_on_line_min), (1, Some(0)));
        assert_eq!((row.rtt_us_max, row.clock_skew_ms_max, row.memory_pct_mean), (3000, 40, Some(25.0)));
    }

    #[test]
    fn what_another_process_counted_is_no_traffic() {
        let (mut point, before) = (Point::default(), told(|_| {}));
        let after = told(|told| (told.boot, told.system.net_in_bytes) = (Epoch(2), 9000));
        point.told(Some(&before), &after, None, None);
        assert_eq!(point.row().net_in_bytes, 0);
    }

    #[test]
    fn two_halves_make_the_same_minute_as_one_whole() {
        let telling: Vec<Telemetry> = (1..5)
            .map(|nth: u16| {
                told(|told| {
                    told.system.cpu_pct = f32::from(nth) * 7.0;
                    told.system.net_in_bytes = 1000 * u64::from(nth);
                })
            })
            .collect();
        let [mut whole, mut one, mut other] = [(); 3].map(|()| Point::default());
        for (nth, telemetry) in telling.iter().enumerate() {
            let before = nth.checked_sub(1).map(|nth| &telling[nth]);
            let half = if nth < 2 { &mut one } else { &mut other };
            for point in [&mut whole, half] {
                point.told(before, telemetry, Some(Duration::from_millis(nth as u64)), Some(nth as i64));
                point.lived(HealthState::Degraded, Duration::from_secs(1));
            }
        }
        one.merge(&other);
        assert_eq!(one, whole);
        assert_eq!(codec::decode::<Point, 1024>(&codec::encode(&whole)), Ok(whole));
    }
}
