"""C (m, n) = act(X (m, k) · W (n, k)ᵀ + bias) for a few rows of X: vectors lie along k, so that neither operand is
copied or turned. The innermost loop is written as vectors of LLVM, like the tile."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .entry import Address
from .jobs import Given, Operand, evenly, parts
from .memory import INDEX, call, item_size, one_of, pointer, record, room, whole_numbers
from .turn import exchanged
from .vectors import BYTES, masked_load, masked_store
from .writer import REGISTERS, Writer

#: columns to a tile of so many rows: rows × columns accumulators, a load for each row and column at every step
COLUMNS = {1: 8, 2: 12, 3: 8, 4: 6} if REGISTERS == 32 else {1: 8, 2: 6, 3: 4}
MOST_ROWS = max(COLUMNS)
WIDE = 16  # columns for a single row of few terms, where summing up costs most
BLOCK = 48  # columns that all rows use while they are in the cache: a multiple of every number of columns

#: what a tile is told: an array of these whole numbers; addresses and strides in bytes
FIELDS = ("k", "x", "x_row", "w", "w_row", "c", "c_row", "c_col", "bias", "bias_row", "bias_col", "valid")
K, X, X_ROW, W, W_ROW, C, C_ROW, C_COL, BIAS, BIAS_ROW, BIAS_COL, VALID = range(len(FIELDS))


class _Dots(Writer):
    """Writes one tile's instructions. Columns beyond the `valid` ones repeat the last of these."""

    def __init__(self, builder: Any, rows: int, cols: int, real: types.Float, told: Any, floor: Any) -> None:
        super().__init__(builder, real, told, FIELDS)
        self.rows, self.cols, self.floor = rows, cols, self.spread(floor)
        self.each = [(i, j) for i in range(rows) for j in range(cols)]

    def products(self) -> list[Any]:
        """A vector for each element of C, whose lanes are still to be added up."""
        builder, told, last = self.builder, self.told, self.builder.sub(self.told["valid"], INDEX(1))
        xs = [builder.add(told["x"], builder.mul(told["x_row"], INDEX(i))) for i in range(self.rows)]
        ws = []
        for j in range(self.cols):
            is_valid = builder.icmp_signed("<", INDEX(j), told["valid"])
            ws.append(builder.add(told["w"], builder.mul(told["w_row"], builder.select(is_valid, INDEX(j), last))))

        def step(load: Any, at: Any, sums: Any) -> list[Any]:
            x = [load(builder.add(p, at)) for p in xs]
            new = list(sums)
            for j, w in enumerate(ws):
                vector = load(builder.add(w, at))
                for i in range(self.rows):
                    new[i * self.cols + j] = self.multiply_add(x[i], vector, sums[i * self.cols + j])
            return new

        def whole(at: Any, *sums: Any) -> list[Any]:
            return [builder.add(at, INDEX(BYTES)), *step(lambda p: self.load(p, self.vector), at, sums)]

        steps = builder.sdiv(told["k"], INDEX(self.lanes))
        at, *sums = self.loop(steps, [INDEX(0), *[self.none for _ in self.each]], whole)
        left = builder.srem(told["k"], INDEX(self.lanes))

        def rest() -> list[Any]:
            some = self.mask(0, left)
            return step(lambda p: masked_load(builder, self.at(p, self.vector), some, self.none, self.size), at, sums)

        return self.either(builder.icmp_signed(">", left, INDEX(0)), rest, lambda: sums)

    def added_up(self, vectors: list[Any]) -> Any:
        """Lane i is the sum of the lanes of vector i."""
        vectors = vectors + [self.none] * (self.lanes - len(vectors))
        apart = self.lanes // 2
        while apart:
            pairs = [exchanged(self.builder, vectors[i], vectors[i + apart], apart) for i in range(apart)]
            vectors = [self.builder.fadd(low, high) for low, high in pairs]
            apart //= 2
        return vectors[0]

    def bias_of(self, i: int, j: int, some: Any) -> Any:
        """Of row i, from column j on."""
        builder, told = self.builder, self.told

        def one() -> list[Any]:
            return [self.spread(self.load(told["bias"], self.real, builder.mul(told["bias_row"], INDEX(i))))]

        def each() -> list[Any]:
            place = self.at(told["bias"], self.vector, j * self.size)
            return [masked_load(builder, place, some, self.none, self.size)]

        def either() -> list[Any]:
            return self.either(self.is_set("bias_col"), each, one)

        return self.either(self.is_set("bias"), either, lambda: [self.none])[0]

    def finish(self, sums: list[Any]) -> None:
        """C = max(floor, sums + bias), NaN kept"""
        builder, told = self.builder, self.told
        groups = range(0, len(sums), self.lanes)
        memory = cgutils.alloca_once(builder, self.vector, size=INDEX(len(groups) + 1))
        begin = builder.ptrtoint(memory, INDEX)
        for at in groups:
            builder.store(self.added_up(sums[at : at + self.lanes]), self.at(begin, self.vector, at * self.size))
        for i in range(self.rows):
            c = builder.add(told["c"], builder.mul(told["c_row"], INDEX(i)))
            for j in range(0, self.cols, self.lanes):
                count = builder.sub(told["valid"], INDEX(j))
                count = builder.select(builder.icmp_signed("<", count, INDEX(self.cols)), count, INDEX(self.cols - j))
                some = self.mask(0, count)
                z = self.load(begin, self.vector, (i * self.cols + j) * self.size)
                z = builder.fadd(z, self.bias_of(i, j, some))
                z = builder.select(builder.fcmp_ordered("<=", z, self.floor), self.floor, z)
                self.put(z, c, j, count, some)

    def put(self, z: Any, c: Any, j: int, count: Any, some: Any) -> None:
        """C from column j of a row on."""
        builder, told = self.builder, self.told
        in_line = builder.icmp_signed("==", told["c_col"], INDEX(self.size))
        with builder.if_else(in_line) as (run, apart):
            with run:
                masked_store(builder, z, self.at(c, self.vector, j * self.size), some, self.size)
            with apart:
                for lane in range(min(self.lanes, self.cols - j)):
                    with builder.if_then(builder.icmp_signed("<", INDEX(lane), count)):
                        place = self.at(c, self.real, builder.mul(told["c_col"], INDEX(j + lane)))
                        builder.store(builder.extract_element(z, ir.IntType(32)(lane)), place, align=self.size)


@cache
def dots(rows: int, cols: int) -> Address:
    """The tile of that shape, by the bytes of its numbers."""

    @intrinsic
    def write(typingctx: Any, told: Any, floor: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kernel = _Dots(builder, rows, cols, floor, *args)
            kernel.finish(kernel.products())
            return context.get_dummy_value()

        return types.none(told, floor), emit

    def run(told, floor):
        write(told, floor)

    return Address(run, lambda real: (types.CPointer(types.intp), real), f"dots of {rows} x {cols}")


# ------------------------------------------------------------------------------------------------------ the product


class DotPlan(NamedTuple):
    """How such a product is made: in elements, and addresses."""

    code: int  # of the task
    tasks: int
    swapped: int  # is it the transpose, with X and W exchanged?
    m: int
    k: int
    n: int
    x_row: int
    w_row: int
    c_row: int
    c_col: int
    bias_row: int
    bias_col: int
    strip: int  # rows at a time
    cols: int  # of a tile of so many rows
    last_cols: int  # of one with the rows that are left
    col_block: int
    tile: int
    last: int


def plan_dots(
    m: int, k: int, n: int, x_row: int, w_row: int, c: Operand, size: int, threads: int, swapped: bool
) -> DotPlan:
    """threads: 1, or how many share the work."""
    strip = evenly(m, MOST_ROWS)
    last = m % strip or strip
    col_block = parts(parts(n, 4 * threads), BLOCK) * BLOCK if threads > 1 else n
    cols, last_cols = (WIDE if rows == 1 and k <= 8 * BYTES // size else COLUMNS[rows] for rows in (strip, last))
    return DotPlan(
        *(dot_task[size], parts(n, col_block), swapped, m, k, n, x_row, w_row, *c, swapped, not swapped),
        *(strip, cols, last_cols, col_block, dots(strip, cols)[size], dots(last, last_cols)[size]),
    )


def _task(job, index):
    """Some columns of C. job: a Given, with a DotPlan"""
    numbers = whole_numbers(job)
    g = record(numbers, Given)
    d = record(pointer(g.plan, numbers), DotPlan)
    size = item_size(job)
    begin = index * d.col_block
    end = min(begin + d.col_block, d.n)
    floor = one_of(0.0 if g.is_relu else -float("inf"), job[0])
    told = room(numbers, 12)
    told[K], told[X_ROW], told[W_ROW] = d.k, d.x_row * size, d.w_row * size
    told[C_ROW], told[C_COL], told[BIAS] = d.c_row * size, d.c_col * size, 0
    told[BIAS_ROW], told[BIAS_COL] = d.bias_row * size, d.bias_col * size
    for block in range(begin, end, BLOCK):
        stop = min(block + BLOCK, end)
        for i in range(0, d.m, d.strip):
            is_whole = i + d.strip <= d.m
            cols, code = (d.cols, d.tile) if is_whole else (d.last_cols, d.last)
            told[X] = g.s + i * d.x_row * size
            for j in range(block, stop, cols):
                told[W], told[VALID] = g.v + j * d.w_row * size, min(cols, stop - j)
                told[C] = g.c + (i * d.c_row + j * d.c_col) * size
                if g.bias:
                    told[BIAS] = g.bias + (i * d.bias_row + j * d.bias_col) * size
                call(code, told, floor)
    if g.y:
        at, count = begin * d.c_col, end - begin
        rows, count, apart = (d.m, count, d.c_row) if d.c_col == 1 else (count, d.m, d.c_col)
        c, y = pointer(g.c, job) + at, pointer(g.y, job) + at
        call(g.finish, g.run, g.is_custom, pointer(g.params, job), c, y, apart, rows, count)


dot_task = Address(_task, lambda real: (types.CPointer(real), types.intp), "dots")
