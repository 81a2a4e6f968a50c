//! What a connection's end means, in words for the person who reads the log.
//!
//! TLS reports an alert number and a line of its own; both sides of a refusal get the same two, one
//! as what it found and one as what it was told. Here they become a sentence and a way out.

use super::{CloseCode, Lost};
use crate::Role;
use crate::limits::short_text;
use quinn::{ConnectionError, ReadError, TransportErrorCode, VarInt, WriteError};

/// An ended connection, as the decisions that follow from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// We do not accept what the peer showed.
    WeRefused(String),
    /// The peer does not accept what we showed.
    PeerRefused(String),
    /// Everything that may be different next time.
    Other(String),
}

impl Ending {
    pub(super) fn text(self) -> String {
        match self {
            Self::WeRefused(why) => format!("we refused the peer: {why}"),
            Self::PeerRefused(why) => format!("the peer refused us: {why}"),
            Self::Other(why) => why,
        }
    }
}

pub(super) fn ending(error: &ConnectionError) -> Ending {
    match error {
        ConnectionError::TransportError(e) => match tls_alert(e.code) {
            Some(alert) => Ending::WeRefused(certificate_fault(alert, &e.reason, Whose::Theirs)),
            None => Ending::Other(format!("the peer broke the QUIC protocol: {}", short_text(&e.to_string()))),
        },
        ConnectionError::ConnectionClosed(c) => match tls_alert(c.error_code) {
            Some(alert) => {
                let reason = String::from_utf8_lossy(&c.reason);
                Ending::PeerRefused(certificate_fault(alert, &reason, Whose::Ours))
            }
            None if c.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Ending::Other("the peer is too busy to take another connection".to_owned())
            }
            None => Ending::Other(format!("aborted by the peer: {}", short_text(&c.to_string()))),
        },
        ConnectionError::ApplicationClosed(c) => {
            let why = short_text(&String::from_utf8_lossy(&c.reason));
            match CloseCode::from_wire(c.error_code) {
                Some(CloseCode::Refused) => Ending::PeerRefused(why),
                _ => Ending::Other(format!("closed by the peer ({}): {why}", code_name(c.error_code))),
            }
        }
        ConnectionError::Reset => Ending::Other("the peer restarted and knows this connection no more".to_owned()),
        ConnectionError::TimedOut => {
            Ending::Other(format!("no sign of life from the peer for {} s", super::SILENCE_MAX.as_secs()))
        }
        ConnectionError::LocallyClosed => Ending::Other("closed by this side".to_owned()),
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => Ending::Other(error.to_string()),
    }
}

pub(super) fn connection_lost(error: &ConnectionError) -> Lost {
    Lost::Connection(ending(error).text())
}

pub(super) fn read_lost(error: ReadError) -> Lost {
    match error {
        ReadError::ConnectionLost(e) => connection_lost(&e),
        ReadError::Reset(code) => Lost::Stream(format!("the peer gave the stream up ({})", code_name(code))),
        other => Lost::Stream(other.to_string()),
    }
}

pub(super) fn write_lost(error: WriteError) -> Lost {
    match error {
        WriteError::ConnectionLost(e) => connection_lost(&e),
        WriteError::Stopped(code) => Lost::Stream(format!("the peer stopped reading ({})", code_name(code))),
        other => Lost::Stream(other.to_string()),
    }
}

fn code_name(code: VarInt) -> String {
    CloseCode::from_wire(code).map_or_else(|| format!("code {code}"), |known| known.to_string())
}

/// QUIC carries TLS alerts as 0x100 + alert.
fn tls_alert(code: TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Ours,
    Theirs,
}

fn certificate_fault(alert: u8, reason: &str, whose: Whose) -> String {
    let (holder, its, ca) = match whose {
        Whose::Ours => ("we", "our", "the peer's CA"),
        Whose::Theirs => ("it", "its", "our CA"),
    };
    match alert {
        // certificate_required
        116 => format!("{holder} presented no certificate; issue one from {ca}"),
        // unknown_ca; decrypt_error is what a CA of the same name with another key looks like
        48 | 51 => format!("{its} certificate is not signed by {ca}; issue one from that CA"),
        // certificate_expired, which also covers "not yet valid"
        45 => format!("{its} certificate has expired or is not yet valid; issue a new one, or check both clocks"),
        // certificate_revoked
        44 => {
            let node = if whose == Whose::Ours { "this node" } else { "it" };
            format!("{its} certificate is revoked; enrol {node} again with a new token")
        }
        // bad_certificate
        42 => match role_in(reason) {
            Some(role) => format!("{its} certificate is for the role {role}; check the address, or issue another"),
            None => format!("{its} certificate is no good: {}; issue one from {ca}", short_text(reason)),
        },
        // no_application_protocol
        120 => {
            let [newest, before, oldest] = super::VERSIONS;
            format!(
                "it speaks no version of the protocol that this program speaks ({newest}, {before} and {oldest}); upgrade \
                 the older"
            )
        }
        _ => format!("{} (TLS alert {alert})", short_text(reason)),
    }
}

/// rustls says `... only valid for DnsName("edge.watchtree")`.
fn role_in(reason: &str) -> Option<Role> {
    let (_, names) = reason.split_once("only valid for")?;
    Role::ALL.into_iter().find(|role| names.contains(&format!("\"{}\"", role.server_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_refusal_name_the_certificate_that_is_at_fault() {
        assert!(certificate_fault(48, "", Whose::Ours).starts_with("our certificate is not signed by the peer's CA"));
        assert!(certificate_fault(48, "", Whose::Theirs).starts_with("its certificate is not signed by our CA"));
    }

    #[test]
    fn a_strangers_text_is_cut_and_loses_its_control_characters() {
        let text = certificate_fault(42, &"\x1b[31m".repeat(200), Whose::Ours);
        assert!(text.len() < 400 && !text.contains('\x1b'), "{text:?}");
    }
}
