//! What a link does to the packets it carries, and how people write it down.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// How late a reordered packet is, where nobody says it.
const REORDER_BY: Duration = Duration::from_millis(20);
/// What waits before a slow link, where nobody says it.
pub const QUEUE_BYTES: u64 = 256 * 1024;

/// One way of a link. The default harms nothing. Shares are from 0, never, to 1, always.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairment {
    /// What every packet takes at least.
    pub delay: Duration,
    /// Up to so much more, drawn for each packet; those behind it wait for it, so that jitter alone reorders nothing.
    pub jitter: Duration,
    pub loss: f64,
    /// The share of packets that are held back by `reorder_by` while those behind them go on.
    pub reorder: f64,
    pub reorder_by: Duration,
    pub duplicate: f64,
    /// The share of packets of which one bit is flipped.
    pub corrupt: f64,
    /// `None`: as fast as the machine is.
    pub rate: Option<Rate>,
    /// Nothing gets through.
    pub partitioned: bool,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: REORDER_BY,
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            partitioned: false,
        }
    }
}

impl Impairment {
    /// Nothing but this delay.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// A token bucket with a queue before it. The queue is the bottleneck's buffer: it fills, and then its tail is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub bytes_per_s: NonZeroU64,
    /// What leaves at once after a pause; 0 sends one packet after the other.
    pub burst_bytes: u64,
    /// When full, the packet that comes is dropped.
    pub queue_bytes: u64,
}

impl Rate {
    /// `bits_per_s` below 8 count as 8.
    pub fn bits(bits_per_s: u64, queue_bytes: u64) -> Self {
        let bytes_per_s = NonZeroU64::new(bits_per_s / 8).unwrap_or(NonZeroU64::MIN);
        Self { bytes_per_s, burst_bytes: 0, queue_bytes }
    }

    pub fn mbit(mbit_per_s: u64, queue_bytes: u64) -> Self {
        Self::bits(mbit_per_s.saturating_mul(1_000_000), queue_bytes)
    }

    /// For how long the link is busy with so many bytes.
    pub(super) fn time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Both ways of a link; `up` begins at the client, who dials.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    pub up: Impairment,
    pub down: Impairment,
}

/// The same both ways.
impl From<Impairment> for Conditions {
    fn from(both: Impairment) -> Self {
        Self { up: both.clone(), down: both }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// From the client to the upstream.
    Up,
    Down,
    #[default]
    Both,
}

impl Way {
    pub fn is_up(self) -> bool {
        self != Self::Down
    }

    pub fn is_down(self) -> bool {
        self != Self::Up
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            "both" => Ok(Self::Both),
            _ => Err(format!("`{text}` is no way; use up, down or both")),
        }
    }
}

/// `50ms`, `1.5s`, `200us`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; use a number with its unit, like 50ms, 200us or 1.5s");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let s = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(s).map_err(|_| wrong())
}

/// `5%` or `0.05`.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share; use one from 0% to 100%");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let share = match unit {
        "%" => number / 100.0,
        "" => number,
        _ => return Err(wrong()),
    };
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// Bits a second: `100mbit`, `512kbit`; `0bit` is 0.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate; use a number with its unit, like 100mbit or 512kbit");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bits = match unit {
        "bit" => number,
        "kbit" => number * 1e3,
        "mbit" => number * 1e6,
        "gbit" => number * 1e9,
        _ => return Err(wrong()),
    };
    if bits == 0.0 || bits >= 8.0 { Ok(bits as u64) } else { Err(wrong()) }
}

/// Bytes: `256k`, `4m`, `1500`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; use bytes, or a number with k or m, like 256k");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bytes = match unit {
        "" => number,
        "k" => number * 1024.0,
        "m" => number * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    if bytes >= 1.0 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A number that is not negative, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..unit].parse().ok()?;
    number.is_finite().then_some((number, &text[unit..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(parse_time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(parse_share("5%"), Ok(0.05));
        assert_eq!(parse_share("0.5"), Ok(0.5));
        assert_eq!(parse_rate("100mbit"), Ok(100_000_000));
        assert_eq!(parse_bytes("256k"), Ok(QUEUE_BYTES));
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for text in ["", "ms", "50", "-5ms", "5m", "1e9s"] {
            assert!(parse_time(text).is_err_and(|why| why.contains("50ms")), "{text}");
        }
        for text in ["101%", "5 %", "-1%", "1.5", "."] {
            assert!(parse_share(text).is_err_and(|why| why.contains("100%")), "{text}");
        }
        assert!(parse_rate("7bit").is_err() && parse_rate("100").is_err());
        assert!(parse_bytes("0").is_err() && parse_bytes("1g").is_err());
    }
}
