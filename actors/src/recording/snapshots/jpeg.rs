//! JPEG: a picture as the bytes of a baseline file. Pure.
//!
//!   4:2:0 planes ──▶ 8x8 blocks ──▶ cosines ──▶ quantised ──▶ Huffman codes ──▶ SOI APP0 DQT SOF0 DHT SOS … EOI
//!
//! Ours because pictures come as planes that a file holds as they are: crates take RGB, which would be made of the
//! planes and taken apart again, and the one that is maintained is under a third licence (IJG) besides. Tables are
//! those of ITU-T T.81, annex K; quality scales them as is usual, 1 to 100.

mod tables;

use super::picture::{Picture, Plane};
use std::f32::consts::{FRAC_1_SQRT_2, PI};
use tables::{AC_BITS, AC_VALUES, CHROMA, DC_BITS, DC_VALUES, LUMA, ZIGZAG};

const SIDE: usize = 8;
type Block = [f32; SIDE * SIDE];

pub fn encode(picture: &Picture, quality: u8) -> Vec<u8> {
    let quants = [LUMA, CHROMA].map(|table| scaled(&table, quality));
    // A sixth of a byte a pixel is what scenes take at the usual quality.
    let mut file = Vec::with_capacity(picture.width() * picture.height() / 6 + 1024);
    head(&mut file, picture, &quants);
    let mut codes = Codes { bits: 0, count: 0, out: file };
    scan(&mut codes, picture, &quants);
    let mut file = codes.finish();
    file.extend([0xFF, 0xD9]);
    file
}

fn scaled(table: &[u8; 64], quality: u8) -> [u8; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    table.map(|step| u8::try_from(((u32::from(step) * percent + 50) / 100).clamp(1, 255)).unwrap_or(u8::MAX))
}

/// All that stands before the scan's data.
fn head(file: &mut Vec<u8>, picture: &Picture, quants: &[[u8; 64]; 2]) {
    file.extend([0xFF, 0xD8]);
    segment(file, 0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    for (id, quant) in (0u8..).zip(quants) {
        let in_order = ZIGZAG.iter().map(|&place| quant[place]);
        segment(file, 0xDB, &Vec::from_iter(std::iter::once(id).chain(in_order)));
    }
    let side = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX).to_be_bytes();
    let [height, width] = [side(picture.height()), side(picture.width())];
    // 8 bits a sample; three planes, of which the first has four blocks where the others have one.
    let sizes = [8, height[0], height[1], width[0], width[1], 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    segment(file, 0xC0, &sizes);
    for (id, (bits, values)) in [0x00, 0x01].into_iter().zip(DC_BITS.iter().zip(&DC_VALUES)) {
        segment(file, 0xC4, &[&[id], &bits[..], &values[..]].concat());
    }
    for (id, (bits, values)) in [0x10, 0x11].into_iter().zip(AC_BITS.iter().zip(&AC_VALUES)) {
        segment(file, 0xC4, &[&[id], &bits[..], &values[..]].concat());
    }
    segment(file, 0xDA, &[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
}

fn segment(file: &mut Vec<u8>, mark: u8, body: &[u8]) {
    let length = u16::try_from(body.len() + 2).expect("segments are of a few hundred bytes at most");
    file.extend([0xFF, mark]);
    file.extend(length.to_be_bytes());
    file.extend(body);
}

fn scan(codes: &mut Codes, picture: &Picture, quants: &[[u8; 64]; 2]) {
    let cosines = cosines();
    let dividers = quants.map(|quant| quant.map(|step| 1.0 / f32::from(step)));
    let (dc, ac) = ([0, 1].map(Book::dc), [0, 1].map(Book::ac));
    let [luma, u, v] = picture.planes();
    // What each plane's mean was in the block before.
    let mut means = [0i32; 3];
    for row in 0..picture.height().div_ceil(2 * SIDE) {
        for column in 0..picture.width().div_ceil(2 * SIDE) {
            let mut put = |plane: &Plane, which: usize, column: usize, row: usize| {
                let table = which.min(1);
                let block = transformed(&samples(plane, column * SIDE, row * SIDE), &cosines);
                let levels = quantised(&block, &dividers[table]);
                means[which] = codes.block(&levels, means[which], &dc[table], &ac[table]);
            };
            for (down, across) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                put(luma, 0, 2 * column + across, 2 * row + down);
            }
            put(u, 1, column, row);
            put(v, 2, column, row);
        }
    }
}

/// The block at this place, around zero; beyond the plane's edge its last row and column go on.
fn samples(plane: &Plane, left: usize, top: usize) -> Block {
    let mut block = [0.0; SIDE * SIDE];
    for (down, out) in block.chunks_exact_mut(SIDE).enumerate() {
        let row = plane.row((top + down).min(plane.height() - 1));
        for (across, sample) in out.iter_mut().enumerate() {
            *sample = f32::from(row[(left + across).min(plane.width() - 1)]) - 128.0;
        }
    }
    block
}

/// Row k: half the cosines of k half-waves, the first by the root of two less.
fn cosines() -> Block {
    std::array::from_fn(|index| {
        let (wave, place) = ((index / SIDE) as f32, (index % SIDE) as f32);
        let half = if index < SIDE { FRAC_1_SQRT_2 / 2.0 } else { 0.5 };
        half * ((2.0 * place + 1.0) * wave * PI / 16.0).cos()
    })
}

/// The cosine transform, along the rows and then along the columns.
fn transformed(block: &Block, cosines: &Block) -> Block {
    let along = |from: &Block| {
        let mut to = [0.0; SIDE * SIDE];
        for (row, samples) in from.chunks_exact(SIDE).enumerate() {
            for (wave, factors) in cosines.chunks_exact(SIDE).enumerate() {
                // Turned on its side, so that the second pass is the same as the first.
                to[wave * SIDE + row] = samples.iter().zip(factors).map(|(sample, factor)| sample * factor).sum();
            }
        }
        to
    };
    along(&along(block))
}

/// In the order of the file.
fn quantised(block: &Block, dividers: &Block) -> [i32; 64] {
    ZIGZAG.map(|place| (block[place] * dividers[place]).round() as i32)
}

/// One table of Huffman codes: for each value its code and how many bits that has.
struct Book([(u16, u8); 256]);

impl Book {
    fn dc(index: usize) -> Self {
        Self::new(&DC_BITS[index], &DC_VALUES[index])
    }

    fn ac(index: usize) -> Self {
        Self::new(&AC_BITS[index], &AC_VALUES[index])
    }

    /// `bits`: how many codes there are of 1, 2, … 16 bits; `values` in the order of their codes.
    fn new(bits: &[u8; 16], values: &[u8]) -> Self {
        let mut book = [(0, 0); 256];
        let mut values = values.iter();
        let mut code = 0u16;
        for (length, count) in (1u8..).zip(bits) {
            for value in values.by_ref().take(usize::from(*count)) {
                book[usize::from(*value)] = (code, length);
                code = code.wrapping_add(1);
            }
            code <<= 1;
        }
        Self(book)
    }
}

/// Bits on their way into a file.
struct Codes {
    bits: u32,
    count: u32,
    out: Vec<u8>,
}

/// Sixteen zeros, and "only zeros from here".
const ZEROS_16: u8 = 0xF0;
const END_OF_BLOCK: u8 = 0x00;

impl Codes {
    /// Returns the block's mean, from which the next one's is counted.
    fn block(&mut self, levels: &[i32; 64], mean_before: i32, dc: &Book, ac: &Book) -> i32 {
        let mean = levels[0];
        self.number(dc, 0, mean - mean_before);
        let mut zeros = 0u8;
        let last = levels.iter().rposition(|level| *level != 0).unwrap_or(0);
        for &level in &levels[1..=last] {
            if level == 0 {
                zeros += 1;
                continue;
            }
            while zeros >= 16 {
                self.symbol(ac, ZEROS_16);
                zeros -= 16;
            }
            self.number(ac, zeros, level);
            zeros = 0;
        }
        if last < 63 {
            self.symbol(ac, END_OF_BLOCK);
        }
        mean
    }

    /// So many zeros, and a number: how many bits it has, and those; of a negative one, those of one less.
    fn number(&mut self, book: &Book, zeros: u8, number: i32) {
        let size = i32::BITS - number.unsigned_abs().leading_zeros();
        self.symbol(book, zeros << 4 | size as u8);
        let bits = if number < 0 { number - 1 } else { number };
        self.push(bits as u32 & ((1 << size) - 1), size);
    }

    fn symbol(&mut self, book: &Book, symbol: u8) {
        let (code, length) = book.0[usize::from(symbol)];
        self.push(u32::from(code), u32::from(length));
    }

    /// At most 16 at once.
    fn push(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | bits;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                // Not to be taken for a mark.
                self.out.push(0);
            }
        }
        self.bits &= (1 << self.count) - 1;
    }

    /// The last byte is filled with ones.
    fn finish(mut self) -> Vec<u8> {
        let left = (8 - self.count) % 8;
        self.push((1 << left) - 1, left);
        self.out
    }
}

#[cfg(test)]
pub(super) mod tests;
