//! Boxes (ISO 14496-12, 4.2): written into a `Vec`, read from a slice that is in memory already.

/// A box's type.
pub type Kind = [u8; 4];

/// Size and type.
pub const HEADER_BYTES: usize = 8;

/// Appends a box whose payload `fill` writes.
pub fn boxed(out: &mut Vec<u8>, kind: &Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    fill(out);
    let bytes = u32::try_from(out.len() - at).expect("heads and moofs are capped far below 4 GiB");
    out[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
}

/// The same with version and flags (4.2, `FullBox`).
pub fn full(out: &mut Vec<u8>, kind: &Kind, version: u8, flags: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, kind, |out| {
        put_u32(out, u32::from(version) << 24 | flags & 0x00ff_ffff);
        fill(out);
    });
}

pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_be_bytes());
}

pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_be_bytes());
}

/// Reads big-endian numbers from the front; `None` once too little is left.
#[derive(Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(front)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Version and flags of a `FullBox`.
    pub fn full(&mut self) -> Option<(u8, u32)> {
        self.u32().map(|word| ((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// The next box's type and payload. What claims to be longer than what is there is none; nor is a box with a 64-bit
    /// size or one that reaches to the end of its file, which we never write below the top.
    pub fn next_box(&mut self) -> Option<(Kind, Cursor<'a>)> {
        let mut ahead = *self;
        let bytes = ahead.u32()? as usize;
        let kind = ahead.array()?;
        let payload = ahead.take(bytes.checked_sub(HEADER_BYTES)?)?;
        self.0 = ahead.0;
        Some((kind, Cursor(payload)))
    }

    /// The first box of this kind among those here.
    pub fn child(mut self, kind: &Kind) -> Option<Cursor<'a>> {
        while let Some((found, payload)) = self.next_box() {
            if found == *kind {
                return Some(payload);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_its_size_its_type_and_its_payload() {
        let mut out = vec![0xaa];
        boxed(&mut out, b"free", |out| full(out, b"mfhd", 1, 2, |out| put_u32(out, 7)));
        let wanted = [&[0xaa, 0, 0, 0, 24][..], b"free", &[0, 0, 0, 16], b"mfhd", &[1, 0, 0, 2, 0, 0, 0, 7]].concat();
        assert_eq!(out, wanted);
        let mut inner = Cursor(&out[1..]).child(b"free").expect("it is there").child(b"mfhd").expect("it is in it");
        assert_eq!((inner.full(), inner.u32(), inner.u32()), (Some((1, 2)), Some(7), None));
    }

    #[test]
    fn a_box_longer_than_what_is_there_is_none() {
        for lie in [0u32, 1, 7, 17, u32::MAX] {
            let bytes = [&lie.to_be_bytes()[..], b"free", &[0; 8]].concat();
            assert!(Cursor(&bytes).next_box().is_none(), "{lie}");
        }
    }
}
