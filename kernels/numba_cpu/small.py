"""C (m, n) = act(S (m, k) · V (k, n) + bias) for one k and n.

A small layer that is called again and again gets a kernel of its own, in which the number of terms, of vectors and what
is left of the last one are constants. The same sums as in matmul.py, bit for bit. A strip is as high as the registers
allow; a last one that is not full moves up, so that some rows are made twice.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from numba.core import types
from numba.extending import intrinsic

from . import pack
from .activations import forward
from .entry import Address
from .jobs import Given, Operand, parts
from .memory import INDEX, address, call, item_size, one_of, pointer, record, room, whole_numbers
from .pool import scratch
from .vectors import BYTES, masked_load, masked_store
from .writer import REGISTERS, Writer

MOST_VECTORS = 4  # side by side
MOST_COLUMNS = 16 * BYTES  # of n, in bytes
MOST_V = 16384  # bytes of V, which is to stay in L1 beside a strip of S
CHUNK = 128  # rows to a task, about

FIELDS = ("s", "s_row", "v", "v_row", "c", "c_row", "bias", "rows")
S, S_ROW, V, V_ROW, C, C_ROW, BIAS, ROWS = range(len(FIELDS))


class SmallPlan(NamedTuple):
    """How such a product is made: in elements, and addresses."""

    code: int  # of the task
    tasks: int
    swapped: int
    m: int
    k: int
    n: int
    s_row: int
    v_row: int
    c_row: int
    is_turned: int  # is V to be turned, so that its rows are contiguous?
    turn: int


def height(vectors: int) -> int:
    """Rows of a strip: accumulators, a row of V, a scalar."""
    return min(14, (REGISTERS - vectors - 1) // vectors)


def prefers_small(m: int, k: int, n: int, s: Operand, v: Operand, c: Operand, size: int) -> bool:
    """Is it worth a kernel of its own?"""
    fits = n * size <= MOST_COLUMNS and parts(n * size, BYTES) * BYTES * k <= MOST_V
    return m >= 14 and k > 0 and fits and s.col == 1 and c.col == 1 and 1 in v


def plan_small(m: int, k: int, n: int, s: Operand, v: Operand, c: Operand, size: int, threads: int) -> SmallPlan:
    is_turned = v.col != 1
    task = _task_of(k, n, size, is_turned)[size]
    v_row, tasks = v.col if is_turned else v.row, max(1, m // CHUNK)
    return SmallPlan(task, tasks, 0, m, k, n, s.row, v_row, c.row, is_turned, pack.turned[size])


class _Small(Writer):
    """Writes the instructions for some rows."""

    def __init__(self, builder: Any, k: int, n: int, is_padded: bool, real: types.Float, told: Any, floor: Any) -> None:
        """is_padded: may whole vectors of V be read?"""
        super().__init__(builder, real, told, FIELDS)
        self.k, self.n, self.is_padded, self.floor = k, n, is_padded, self.spread(floor)

    def some(self, j: int) -> Any:
        """The lanes of vector j that are columns; None if all are."""
        return None if (j + 1) * self.lanes <= self.n else self.mask(j, INDEX(self.n))

    def vector_at(self, address: Any, j: int, is_padded: bool = False) -> Any:
        some, place = self.some(j), self.at(address, self.vector, j * BYTES)
        if some is None or is_padded:
            return self.builder.load(place, align=self.size)
        return masked_load(self.builder, place, some, self.none, self.size)

    def strip(self, row: Any, rows: int, columns: list[int], biases: list[Any]) -> None:
        """C from that row on."""
        builder, told = self.builder, self.told
        s = builder.add(told["s"], builder.mul(told["s_row"], row))

        def vectors_at(v: Any) -> list[Any]:
            return [self.vector_at(v, j, self.is_padded) for j in columns]

        sums = self.products(INDEX(self.k), rows, s, INDEX(self.size), told["v"], len(columns), vectors_at)
        c = builder.add(told["c"], builder.mul(told["c_row"], row))
        for _ in range(rows):
            for j, bias in zip(columns, biases):
                value = builder.fadd(sums.pop(0), bias)
                value = builder.select(builder.fcmp_ordered("<=", value, self.floor), self.floor, value)
                some, place = self.some(j), self.at(c, self.vector, j * BYTES)
                if some is None:
                    builder.store(value, place, align=self.size)
                else:
                    masked_store(builder, value, place, some, self.size)
            c = builder.add(c, told["c_row"])

    def all_rows(self) -> None:
        """Some vectors of columns side by side, and then the next ones."""
        builder, told = self.builder, self.told
        vectors = list(range(parts(self.n, self.lanes)))
        for first in range(0, len(vectors), MOST_VECTORS):
            columns = vectors[first : first + MOST_VECTORS]
            rows = height(len(columns))
            biases = self.either(
                self.is_set("bias"),
                lambda columns=columns: [self.vector_at(told["bias"], j) for j in columns],
                lambda columns=columns: [self.none for _ in columns],
            )
            last = builder.sub(told["rows"], INDEX(rows))

            def step(row: Any, rows=rows, columns=columns, biases=biases, last=last) -> list[Any]:
                is_whole = builder.icmp_signed("<", row, last)
                self.strip(builder.select(is_whole, row, last), rows, columns, biases)
                return [builder.add(row, INDEX(rows))]

            strips = builder.sdiv(builder.add(told["rows"], INDEX(rows - 1)), INDEX(rows))
            self.loop(strips, [INDEX(0)], step)


@cache
def _task_of(k: int, n: int, size: int, is_turned: bool) -> Address:
    @intrinsic
    def write(typingctx: Any, told: Any, floor: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _Small(builder, k, n, is_turned, floor, *args).all_rows()
            return context.get_dummy_value()

        return types.none(told, floor), emit

    width = parts(n * size, BYTES) * BYTES // size

    def run(job, index):
        """Some rows of C. job: a Given, with a SmallPlan"""
        numbers = whole_numbers(job)
        g = record(numbers, Given)
        p = record(pointer(g.plan, numbers), SmallPlan)
        size = item_size(job)
        begin, end = index * p.m // p.tasks, (index + 1) * p.m // p.tasks
        told = room(numbers, 8)
        told[V], told[V_ROW] = g.v, p.v_row * size
        if is_turned:
            own = whole_numbers(scratch(job))
            panel = pointer(address(own) + 64, job)
            if own[0] != g.number:
                call(p.turn, pointer(g.v, job), 1, p.v_row, panel, width, n, k, width)
                own[0] = g.number
            told[V], told[V_ROW] = address(panel), width * size
        told[S], told[S_ROW] = g.s + begin * p.s_row * size, p.s_row * size
        told[C], told[C_ROW] = g.c + begin * p.c_row * size, p.c_row * size
        told[BIAS], told[ROWS] = g.bias, end - begin
        write(told, one_of(0.0 if g.is_relu else -float("inf"), job[0]))
        if g.y:
            c, y = pointer(g.c, job) + begin * p.c_row, pointer(g.y, job) + begin * p.c_row
            forward(g.run, g.is_custom, pointer(g.params, c), c, y, (end - begin) * n)

    name = f"small {k}x{n}{' turned' if is_turned else ''}"
    return Address(run, lambda real: (types.CPointer(real), types.intp), name)
