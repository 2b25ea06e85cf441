"""What the kernels that are written as vectors of LLVM have in common: loads, multiply-adds, loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from ..numba_scalars.numbers import call_llvm, spread
from .memory import INDEX
from .vectors import BYTES, mask, vector_of

FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
REGISTERS = 32 if BYTES == 64 or "+neon" in FEATURES else 16  # for vectors
SHARE = 3  # rows that share a pointer: one, two and no strides further on are one addressing mode each
HAS_FMA = "+fma" in FEATURES or BYTES == 64 or "+neon" in FEATURES


class Writer:
    """Writes a kernel's instructions. told: a pointer to whole numbers, of which `fields` are the names."""

    def __init__(self, builder: Any, real: types.Float, told: Any, fields: tuple[str, ...]) -> None:
        self.builder = builder
        self.size, self.lanes = real.bitwidth // 8, vector_of(real).lanes
        self.real = ir.FloatType() if real == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.real, self.lanes)
        self.none = ir.Constant(self.vector, None)
        values = (builder.load(builder.gep(told, [INDEX(i)])) for i in range(len(fields)))
        self.told = dict(zip(fields, values))

    def is_set(self, name: str) -> Any:
        return self.builder.icmp_signed("!=", self.told[name], INDEX(0))

    def spread(self, value: Any) -> Any:
        return spread(self.builder, value, self.lanes)

    def mask(self, j: int, count: Any) -> Any:
        """The lanes of vector j of several that are among the first `count` elements."""
        return mask(self.builder, self.builder.sub(count, INDEX(j * self.lanes)), self.lanes)

    def at(self, address: Any, kind: Any, by: Any = 0) -> Any:
        """The pointer `by` bytes further on."""
        by = INDEX(by) if isinstance(by, int) else by
        return self.builder.inttoptr(self.builder.add(address, by), kind.as_pointer())

    def hidden(self, value: Any) -> Any:
        """The whole number, which the compiler does not know to be related to others: it would keep registers full of
        differences."""
        return self.builder.asm(ir.FunctionType(INDEX, [INDEX]), "", "=r,0", [value], False)

    def load(self, address: Any, kind: Any, by: Any = 0) -> Any:
        return self.builder.load(self.at(address, kind, by), align=self.size)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        if HAS_FMA:
            return call_llvm(self.builder, "fma", [a, b, c])
        return self.builder.fadd(self.builder.fmul(a, b), c)

    def products(
        self, count: Any, rows: int, s: Any, s_col: Any, v: Any, vectors: int, vectors_at: Callable[[Any], list[Any]]
    ) -> list[Any]:
        """Σ_p S[i][p] V[p][j] over `count` terms, row by row. s, s_col: S's first row, and to its next column. v: V's
        first row; vectors_at: the `vectors` vectors of a row of it"""
        builder, told = self.builder, self.told
        each = [(i, j) for i in range(rows) for j in range(vectors)]
        ways = [builder.mul(told["s_row"], INDEX(i)) for i in range(SHARE)]
        bases = [builder.add(s, builder.mul(told["s_row"], INDEX(i))) for i in range(0, rows, SHARE)]

        def step(v: Any, *values: Any) -> list[Any]:
            bases, sums = values[: len(values) - len(each)], values[len(values) - len(each) :]
            columns = vectors_at(v)
            scalars = [self.spread(self.load(bases[i // SHARE], self.real, ways[i % SHARE])) for i in range(rows)]
            new = [self.multiply_add(scalars[i], columns[j], value) for value, (i, j) in zip(sums, each)]
            on = [self.hidden(builder.add(base, s_col)) for base in bases]
            return [builder.add(v, told["v_row"]), *on, *new]

        _, *values = self.loop(count, [v, *bases, *[self.none for _ in each]], step)
        return values[len(bases) :]

    def loop(self, count: Any, starts: list[Any], step: Callable[..., list[Any]]) -> list[Any]:
        """step(*values) -> values, so many times. -> the last ones; the first if that is 0"""
        builder = self.builder
        before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", count, INDEX(0)), body, after)
        builder.position_at_end(body)
        left = builder.phi(INDEX)
        values = [builder.phi(v.type) for v in starts]
        new = step(*values)
        fewer = builder.sub(left, INDEX(1))
        end = builder.block
        builder.cbranch(builder.icmp_signed(">", fewer, INDEX(0)), body, after)
        for phi, start, then in zip([left, *values], [count, *starts], [fewer, *new]):
            phi.add_incoming(start, before)
            phi.add_incoming(then, end)
        builder.position_at_end(after)
        last = [builder.phi(v.type) for v in starts]
        for phi, start, then in zip(last, starts, new):
            phi.add_incoming(start, before)
            phi.add_incoming(then, end)
        return last

    def either(self, condition: Any, yes: Callable[[], list[Any]], no: Callable[[], list[Any]]) -> list[Any]:
        """What one of them gives."""
        builder, ends = self.builder, []
        blocks = [builder.append_basic_block() for _ in range(2)]
        after = builder.append_basic_block()
        builder.cbranch(condition, *blocks)
        for block, choice in zip(blocks, (yes, no)):
            builder.position_at_end(block)
            ends.append((choice(), builder.block))
            builder.branch(after)
        builder.position_at_end(after)
        values = []
        for both in zip(*(given for given, _ in ends)):
            phi = builder.phi(both[0].type)
            for value, (_, block) in zip(both, ends):
                phi.add_incoming(value, block)
            values.append(phi)
        return values
