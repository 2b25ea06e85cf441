"""The matmul tile, written as vectors of LLVM: C (rows, cols) = start + S (rows, k) · V (k, cols), held in registers;
one after the other, along a row.

V enters as whole vectors along the columns, S as scalars in all lanes. An element's sum is one chain of multiply-adds
over k in order, whatever the tile's shape: results do not depend on how C was cut into tiles.

The shape comes from the registers of the CPU: rows × vectors of accumulators, 2 of V, 1 or 2 of S.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .entry import Address
from .memory import INDEX
from .vectors import BYTES, masked_load, masked_store
from .writer import REGISTERS, Writer

#: rows of a tile by its vectors: few rows take wider ones, as a multiply-add takes 4 cycles and two can start in each
HIGHEST = {1: 14, 2: 14, 4: 6, 8: 3} if REGISTERS == 32 else {1: 6, 2: 6, 4: 3, 8: 1}

#: what a tile is told: an array of these whole numbers; addresses and strides in bytes
FIELDS = (
    "k",
    "s",  # S[0][0]
    "s_row",
    "s_col",
    "v",  # V[0][0]: whole vectors may be read
    "v_row",
    "v_panel",  # to the columns of the next tile
    "c",
    "c_row",
    "cols",  # to write, of as many tiles as it takes
    "add",  # to what is in C?
    "bias",  # where not: of each column, or of each row; 0 for none
    "bias_by_rows",
)
K, S, S_ROW, S_COL, V, V_ROW, V_PANEL, C, C_ROW, COLS, ADD, BIAS, BIAS_BY_ROWS = range(len(FIELDS))


class _Tile(Writer):
    """Writes one tile's instructions."""

    def __init__(self, builder: Any, rows: int, vectors: int, real: types.Float, told: Any, floor: Any) -> None:
        super().__init__(builder, real, told, FIELDS)
        self.rows, self.vectors = rows, vectors
        self.width, self.floor = self.lanes * vectors, self.spread(floor)

    def each(self) -> list[tuple[int, int]]:
        """The accumulators: row, vector."""
        return [(i, j) for i in range(self.rows) for j in range(self.vectors)]

    def vectors_at(self, v: Any) -> list[Any]:
        return [self.load(v, self.vector, j * BYTES) for j in range(self.vectors)]

    def begun(self, sums: list[Any], c: Any, bias: Any, cols: Any) -> list[Any]:
        """The sums, with what they are added to: C as it is, or the bias, or nothing."""
        builder, told = self.builder, self.told

        def c_as_it_is() -> list[Any]:
            rows = [builder.add(c, builder.mul(told["c_row"], INDEX(i))) for i in range(self.rows)]
            places = [self.at(rows[i], self.vector, j * BYTES) for i, j in self.each()]
            masks = [self.mask(j, cols) for j in range(self.vectors)]
            starts = (masked_load(builder, p, masks[j], self.none, self.size) for p, (_, j) in zip(places, self.each()))
            return [builder.fadd(value, start) for value, start in zip(sums, starts)]

        def bias_of_rows() -> list[Any]:
            each = [self.spread(self.load(bias, self.real, i * self.size)) for i in range(self.rows)]
            return [builder.fadd(value, each[i]) for value, (i, _) in zip(sums, self.each())]

        def bias_of_columns() -> list[Any]:
            places = [self.at(bias, self.vector, j * BYTES) for j in range(self.vectors)]
            each = [masked_load(builder, p, self.mask(j, cols), self.none, self.size) for j, p in enumerate(places)]
            return [builder.fadd(value, each[j]) for value, (_, j) in zip(sums, self.each())]

        return self.either(
            self.is_set("add"),
            c_as_it_is,
            lambda: self.either(
                self.is_set("bias"),
                lambda: self.either(self.is_set("bias_by_rows"), bias_of_rows, bias_of_columns),
                lambda: sums,
            ),
        )

    def finish(self, sums: list[Any], c: Any, cols: Any) -> None:
        """C = max(floor, sums), NaN kept"""
        builder, told = self.builder, self.told
        values = []
        for value in sums:
            low = builder.fcmp_ordered("<=", value, self.floor)
            values.append(builder.select(low, self.floor, value))
        rows = [builder.add(c, builder.mul(told["c_row"], INDEX(i))) for i in range(self.rows)]
        places = [self.at(rows[i], self.vector, j * BYTES) for i, j in self.each()]
        with builder.if_else(builder.icmp_signed(">=", cols, INDEX(self.width))) as (whole, part):
            with whole:
                for value, place in zip(values, places):
                    builder.store(value, place, align=self.size)
            with part:
                masks = [self.mask(j, cols) for j in range(self.vectors)]
                for value, place, (_, j) in zip(values, places, self.each()):
                    masked_store(builder, value, place, masks[j], self.size)

    def tiles(self) -> None:
        """All columns."""
        builder, told = self.builder, self.told
        wide = INDEX(self.width * self.size)
        by_columns = builder.select(self.is_set("bias_by_rows"), INDEX(0), wide)

        def step(v: Any, c: Any, bias: Any, cols: Any) -> list[Any]:
            first = told["k"], self.rows, told["s"], told["s_col"]
            sums = self.products(*first, v, self.vectors, self.vectors_at)
            self.finish(self.begun(sums, c, bias, cols), c, cols)
            v, c, bias = builder.add(v, told["v_panel"]), builder.add(c, wide), builder.add(bias, by_columns)
            return [v, c, bias, builder.sub(cols, INDEX(self.width))]

        count = builder.sdiv(builder.add(told["cols"], INDEX(self.width - 1)), INDEX(self.width))
        self.loop(count, [told[name] for name in ("v", "c", "bias", "cols")], step)


@cache
def tile(rows: int, vectors: int) -> Address:
    """The tile of that shape, by the bytes of its numbers."""

    @intrinsic
    def write(typingctx: Any, told: Any, floor: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _Tile(builder, rows, vectors, floor, *args).tiles()
            return context.get_dummy_value()

        return types.none(told, floor), emit

    def run(told, floor):
        write(told, floor)

    return Address(run, lambda real: (types.CPointer(types.intp), real), f"tile of {rows} x {vectors} vectors")
