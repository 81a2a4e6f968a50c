#!/usr/bin/env python3
"""Makes squares.onnx: a detector of red, green and blue squares, computed instead of trained.

Needs Python 3.9 and nothing else: ONNX's protobuf is written by hand below. The same script gives the
same bytes on every machine; squares.toml carries their sha256, printed at the end.

    images [batch,3,320,320], BGR, 0 to 1
      mask      how far the colour stands above both others, one plane a colour, noise cut off
      moments   sums over a 56 px window around each cell of the stride-8 grid: m, mx, my, mxx, myy
      box       centre = m_x / m, side = sqrt(12 * variance + 1): exact for a filled rectangle
      object    sigmoid of the least of five margins: large enough, filled, centred (x, y), inside its window
    output [batch,4800,8]: YOLOX's tx, ty, tw, th, objectness, then red, green, blue

Each colour has its own 40x40 grid, which is why squares.toml lists stride 8 three times. Sides of 16 to
45 px are found wherever they are; a filled disc looks like a square to it.
"""

import hashlib
import pathlib
import struct

SIDE, STRIDE, WINDOW, COLOURS = 320, 8, 56, 3
CELLS = SIDE // STRIDE
PAD = (WINDOW - STRIDE) // 2


# Protobuf: a message is a list of (field number, int | bytes | str) pairs.
def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def message(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


FLOAT, INT64 = 1, 7


def tensor(name, dims, values, kind=FLOAT):
    data = struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'q'}", *values)
    return message(*[(1, d) for d in dims], (2, kind), (8, name), (9, data))


def attribute(name, value):
    if isinstance(value, int):
        return message((1, name), (3, value), (20, 2))
    return message((1, name), *[(8, v) for v in value], (20, 7))


def value_info(name, dims):
    shape = message(*[(1, message((2, d) if isinstance(d, str) else (1, d))) for d in dims])
    return message((1, name), (2, message((1, message((1, FLOAT), (2, shape))))))


class Graph:
    """Collects nodes and constants; every node's output bears the name it is given."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def const(self, name, dims, values, kind=FLOAT):
        self.constants.append(tensor(name, dims, values, kind))
        return name

    def op(self, kind, output, *inputs, **attributes):
        attrs = [(5, attribute(key, attributes[key])) for key in sorted(attributes)]
        self.nodes.append(message(*[(1, i) for i in inputs], (2, output), (3, output), (4, kind), *attrs))
        return output

    def model(self, inputs, outputs):
        graph = message(
            *[(1, n) for n in self.nodes],
            (2, "squares"),
            *[(5, c) for c in self.constants],
            *[(11, i) for i in inputs],
            *[(12, o) for o in outputs],
        )
        return message((1, 8), (2, "make_squares.py"), (7, graph), (8, message((1, ""), (2, 13))))


def masks(g):
    """0 where a colour exceeds both others by less than a quarter of full scale, 1 from a half on."""
    b, gr, r = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    pairs = {"over_first": [(r, gr), (gr, r), (b, r)], "over_second": [(r, b), (gr, b), (b, gr)]}
    # What ONNX would assume by itself is written out: not every engine assumes it.
    plain = dict(kernel_shape=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0])
    bias = g.const("mask_bias", [COLOURS], [-1.0] * COLOURS)
    for name, differences in pairs.items():
        weights = [4.0 * (plus - minus) for own, other in differences for plus, minus in zip(own, other)]
        g.op("Conv", name, "images", g.const(name + "_w", [COLOURS, 3, 1, 1], weights), bias, **plain)
    g.op("Min", "over_both", *pairs)
    return g.op("Clip", "mask", "over_both", g.const("zero", [], [0.0]), g.const("one", [], [1.0]))


def moments(g, mask):
    """Window sums by separable depthwise convolutions: along x, then along y."""
    # Pixel centres, measured from the centre of the cell.
    offsets = [k + 0.5 - WINDOW / 2 for k in range(WINDOW)]
    kernels = {"1": [1.0] * WINDOW, "x": offsets, "xx": [o * o for o in offsets]}
    along_x = dict(group=COLOURS, kernel_shape=[1, WINDOW], strides=[1, STRIDE], pads=[0, PAD, 0, PAD])
    along_y = dict(group=COLOURS, kernel_shape=[WINDOW, 1], strides=[STRIDE, 1], pads=[PAD, 0, PAD, 0])
    for power, taps in kernels.items():
        g.const("row_" + power, [COLOURS, 1, 1, WINDOW], taps * COLOURS)
        g.const("col_" + power, [COLOURS, 1, WINDOW, 1], taps * COLOURS)
        g.op("Conv", "sum_x_" + power, mask, "row_" + power, **along_x)
    names = {"m": ("1", "1"), "mx": ("x", "1"), "mxx": ("xx", "1"), "my": ("1", "x"), "myy": ("1", "xx")}
    for name, (x, y) in names.items():
        g.op("Conv", name, "sum_x_" + x, "col_" + y, **along_y)
    # Keeps an empty window from dividing by nothing.
    g.op("Max", "mass", "m", "one")


def boxes(g):
    """Centre and sides of what is in the window, and both as YOLOX codes them."""
    for name, value in [("twelve", 12.0), ("stride", float(STRIDE)), ("half", 0.5)]:
        g.const(name, [], [value])
    for axis, side in [("x", "w"), ("y", "h")]:
        centre = g.op("Div", "centre_" + axis, "m" + axis, "mass")
        mean_square = g.op("Div", "mean_square_" + axis, "m" + axis + axis, "mass")
        square = g.op("Mul", "centre_square_" + axis, centre, centre)
        variance = g.op("Relu", "variance_" + axis, g.op("Sub", "spread_" + axis, mean_square, square))
        # n pixels in a row have the variance (n * n - 1) / 12.
        side_square = g.op("Add", side + "_square", g.op("Mul", side + "_twelve", variance, "twelve"), "one")
        g.op("Sqrt", side, side_square)
        g.op("Log", "t" + side, g.op("Div", side + "_strides", side, "stride"))
        # The grid counts cells from their corner; the window is measured from the cell's centre.
        g.op("Add", "t" + axis, g.op("Div", axis + "_strides", centre, "stride"), "half")


def objectness(g):
    """The least margin decides; 0 is undecided, 4 is certain."""

    def margin(name, value, gain, offset):
        scaled = g.op("Mul", name + "_scaled", value, g.const(name + "_gain", [], [gain]))
        return g.op("Add", name, scaled, g.const(name + "_offset", [], [offset]))

    fill = g.op("Div", "fill", "m", g.op("Mul", "area", "w", "h"))
    margins = [margin("large", "m", 1 / 30, -200 / 30), margin("filled", fill, 16.0, -12.0)]
    for axis, side in [("x", "w"), ("y", "h")]:
        # The nearest cell is at most 4 px away; cells beyond 5 px leave the square to it.
        away = g.op("Abs", "away_" + axis, "centre_" + axis)
        margins.append(margin("centred_" + axis, away, -3.0, 15.0))
        # What touches the window's edge may go on outside it: no box can be given.
        reach = g.op("Add", "reach_" + axis, away, g.op("Mul", "half_" + side, side, "half"))
        margins.append(margin("inside_" + axis, reach, -3.0, 82.5))
    least = g.op("Min", "logit", *margins, g.const("certain", [], [4.0]))
    return g.op("Sigmoid", "object", least)


def head(g):
    anchors = COLOURS * CELLS * CELLS
    g.const("as_column", [3], [0, anchors, 1], INT64)
    g.const("as_grid", [4], [0, COLOURS, CELLS * CELLS, 1], INT64)
    g.const("as_classes", [3], [0, anchors, COLOURS], INT64)
    columns = [g.op("Reshape", name + "_column", name, "as_column") for name in ["tx", "ty", "tw", "th", "object"]]
    # Each grid belongs to one colour. Multiplied by zero, objectness lends only its batch size.
    own = [1.0 if row == column else 0.0 for row in range(COLOURS) for column in range(COLOURS)]
    g.const("own_colour", [1, COLOURS, 1, COLOURS], own)
    nothing = g.op("Mul", "nothing", g.op("Reshape", "object_grid", "object", "as_grid"), "zero")
    classes = g.op("Reshape", "classes", g.op("Add", "class_grid", nothing, "own_colour"), "as_classes")
    return g.op("Concat", "output", *columns, classes, axis=2), anchors


def main():
    g = Graph()
    moments(g, masks(g))
    boxes(g)
    objectness(g)
    output, anchors = head(g)
    images = value_info("images", ["batch", 3, SIDE, SIDE])
    data = g.model([images], [value_info(output, ["batch", anchors, 5 + COLOURS])])
    path = pathlib.Path(__file__).with_name("squares.onnx")
    path.write_bytes(data)
    print(f"{path.name}: {len(data)} B, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
