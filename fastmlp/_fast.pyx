"""The checks of `ops`, for the common case that there is nothing to convert and nothing wrong.

Each function answers "not so simple" rather than raise: the checks in `ops` then convert, or say what is wrong. They stand
here because a call on a small layer costs less than they would cost in Python.
"""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t, uintptr_t

cnp.import_array()

cdef extern from *:
    """
    /* A number that changes whenever the dictionary does; 0 where CPython does not tell. */
    #if PY_VERSION_HEX < 0x030C0000 && !defined(PYPY_VERSION)
    #define dict_version(d) (((PyDictObject *)(d))->ma_version_tag)
    #else
    #define dict_version(d) 0
    #endif
    """
    uint64_t dict_version(object d)


cdef inline bint _is_plain(object a, int type_num) noexcept:
    return (
        cnp.PyArray_CheckExact(a)
        and cnp.PyArray_TYPE(<cnp.ndarray>a) == type_num
        and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>a)
    )


cdef inline int _float_type(object a) noexcept:
    """float32's or float64's number, or -1."""
    if not cnp.PyArray_CheckExact(a):
        return -1
    cdef int type_num = cnp.PyArray_TYPE(<cnp.ndarray>a)
    return type_num if type_num == cnp.NPY_FLOAT or type_num == cnp.NPY_DOUBLE else -1


def plain(first, *others):
    """Are all of them (but for None) aligned ndarrays of one float dtype, as kernels take them?"""
    cdef int type_num = _float_type(first)
    if type_num < 0 or not _is_plain(first, type_num):
        return False
    for a in others:
        if a is not None and not _is_plain(a, type_num):
            return False
    return True


cdef inline bint _apart(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Surely without a byte in common: both contiguous, one after the other."""
    if not (cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b)):
        return False
    cdef char *a0 = <char *>cnp.PyArray_DATA(a)
    cdef char *b0 = <char *>cnp.PyArray_DATA(b)
    return a0 + cnp.PyArray_NBYTES(a) <= b0 or b0 + cnp.PyArray_NBYTES(b) <= a0


def apart(cnp.ndarray a, cnp.ndarray b):
    """Have they surely no byte in common? False also where it is not so simple."""
    return _apart(a, b)


cdef inline bint _is_target(object out, int type_num) noexcept:
    """May a kernel write straight into it?"""
    return (
        _is_plain(out, type_num)
        and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>out)
    )


cdef inline bint _same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    return cnp.PyArray_SAMESHAPE(a, b)


def alike(a, like):
    """Is `a` an array as `like` is, of its shape, dtype and C-contiguous layout?"""
    return (
        cnp.PyArray_CheckExact(a)
        and cnp.PyArray_TYPE(<cnp.ndarray>a) == cnp.PyArray_TYPE(<cnp.ndarray>like)
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a)
        and _same_shape(a, like)
    )


# Bytes: of a cache line; of an array for which it matters where it begins; more than there is memory
cdef enum: LINE = 64, LARGE = 32768
cdef double MOST = 2.0 ** 50


cdef object _new(int ndim, cnp.npy_intp *shape, int type_num):
    """An array, from the beginning of a cache line if it is large."""
    cdef double bytes = 8 if type_num == cnp.NPY_FLOAT64 else 4
    cdef int i
    for i in range(ndim):
        bytes *= shape[i]
    if bytes < LARGE or bytes > MOST:
        return cnp.PyArray_EMPTY(ndim, shape, type_num, 0)
    cdef cnp.npy_intp size = <cnp.npy_intp>bytes + LINE
    cdef cnp.ndarray memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
    cdef char *data = <char *>cnp.PyArray_DATA(memory)
    data += -<uintptr_t>data % LINE
    cdef cnp.ndarray a = cnp.PyArray_SimpleNewFromData(ndim, shape, type_num, data)
    cnp.set_array_base(a, memory)
    return a


cdef object _output_like(object out, object first, tuple others):
    cdef int type_num = _float_type(first)
    if type_num < 0 or not _is_plain(first, type_num) or not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>first):
        return None
    for a in others:
        if not (_is_plain(a, type_num) and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>a) and _same_shape(first, a)):
            return None
    if out is None:
        return _new(cnp.PyArray_NDIM(<cnp.ndarray>first), cnp.PyArray_DIMS(<cnp.ndarray>first), type_num)
    if not (_is_target(out, type_num) and _same_shape(out, first) and _apart(out, first)):
        return None
    for a in others:
        if not _apart(out, a):
            return None
    return out


def output_like(out, first, *others):
    """`out`, or a new array where it is None, for an element-wise kernel over arrays of one shape; None if not so simple."""
    return _output_like(out, first, others)


def rows_output(out, axis, first, *others):
    """The same for a kernel over the rows of matrices, if the axis is the last one."""
    if type(axis) is not int or (axis != -1 and axis != 1):
        return None
    if not cnp.PyArray_CheckExact(first) or cnp.PyArray_NDIM(<cnp.ndarray>first) != 2:
        return None
    return _output_like(out, first, others)


cdef bint _linear_fits(object x, object w, object b) noexcept:
    cdef int type_num = _float_type(x)
    if type_num < 0 or not _is_plain(x, type_num) or not _is_plain(w, type_num):
        return False
    cdef cnp.ndarray xa = <cnp.ndarray>x, wa = <cnp.ndarray>w, ba
    if cnp.PyArray_NDIM(xa) != 2 or cnp.PyArray_NDIM(wa) != 2 or cnp.PyArray_DIM(xa, 1) != cnp.PyArray_DIM(wa, 1):
        return False
    if b is None:
        return True
    if not _is_plain(b, type_num):
        return False
    ba = <cnp.ndarray>b
    return (
        cnp.PyArray_NDIM(ba) == 1
        and cnp.PyArray_DIM(ba, 0) == cnp.PyArray_DIM(wa, 0)
        and cnp.PyArray_IS_C_CONTIGUOUS(ba)
    )


def linear_fits(x, w, b):
    """Are x (m, k), w (n, k) and b (n,) or None plain, and do they fit?"""
    return _linear_fits(x, w, b)


def linear_output(x, w, b, out):
    """`out`, or a new array where it is None, for y = x wᵀ + b, if `linear_fits`; else None."""
    if not _linear_fits(x, w, b):
        return None
    cdef int type_num = _float_type(x)
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = cnp.PyArray_DIM(<cnp.ndarray>x, 0), cnp.PyArray_DIM(<cnp.ndarray>w, 0)
    if out is None:
        return _new(2, shape, type_num)
    if not (_is_target(out, type_num) and _is_matrix(out, type_num, shape[0], shape[1])):
        return None
    return out if _apart(out, x) and _apart(out, w) and (b is None or _apart(out, b)) else None


cdef inline bint _is_matrix(object a, int type_num, cnp.npy_intp rows, cnp.npy_intp cols) noexcept:
    """Plain, C-contiguous and (rows, cols)."""
    return (
        _is_plain(a, type_num)
        and cnp.PyArray_NDIM(<cnp.ndarray>a) == 2
        and cnp.PyArray_DIM(<cnp.ndarray>a, 0) == rows
        and cnp.PyArray_DIM(<cnp.ndarray>a, 1) == cols
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>a)
    )


def labels_output(logits, target, weight, sample_weight, out):
    """`out`, or a new array where it is None, for the gradient of cross-entropy of plain logits (m, n) with int64 labels (m,)
    and no weights; None if not so simple."""
    cdef int type_num = _float_type(logits)
    if type_num < 0 or weight is not None or sample_weight is not None or not _is_plain(target, cnp.NPY_INT64):
        return None
    cdef cnp.ndarray la = target
    if cnp.PyArray_NDIM(la) != 1 or not cnp.PyArray_IS_C_CONTIGUOUS(la):
        return None
    cdef cnp.npy_intp rows = cnp.PyArray_DIM(la, 0)
    if cnp.PyArray_NDIM(<cnp.ndarray>logits) != 2 or not _is_matrix(
        logits, type_num, rows, cnp.PyArray_DIM(<cnp.ndarray>logits, 1)
    ):
        return None
    out = _output_like(out, logits, ())
    return out if out is not None and _apart(out, la) else None


cdef object _gradient(object wanted, int ndim, cnp.npy_intp *shape, int type_num, tuple inputs):
    """A new array where True is wanted, None where False, the array that was given if it will do; NotImplemented if not."""
    if wanted is False:
        return None
    if wanted is True:
        return _new(ndim, shape, type_num)
    if not _is_target(wanted, type_num) or cnp.PyArray_NDIM(<cnp.ndarray>wanted) != ndim:
        return NotImplemented
    cdef int i
    for i in range(ndim):
        if cnp.PyArray_DIM(<cnp.ndarray>wanted, i) != shape[i]:
            return NotImplemented
    for a in inputs:
        if a is not None and not _apart(wanted, a):
            return NotImplemented
    return wanted


def linear_gradients(dy, x, w, saved, dx, dw, db, accumulate):
    """The arrays for the gradients, as `ops.linear_backward` describes dx, dw, db, if all is plain and fits; else None."""
    cdef int type_num = _float_type(x)
    if type_num < 0 or not _is_plain(x, type_num) or not _is_plain(w, type_num):
        return None
    if accumulate and (dw is True or db is True):
        return None
    cdef cnp.ndarray xa = x, wa = w
    if cnp.PyArray_NDIM(xa) != 2 or cnp.PyArray_NDIM(wa) != 2 or cnp.PyArray_DIM(xa, 1) != cnp.PyArray_DIM(wa, 1):
        return None
    cdef cnp.npy_intp m = cnp.PyArray_DIM(xa, 0), n = cnp.PyArray_DIM(wa, 0)
    if not _is_matrix(dy, type_num, m, n) or (saved is not None and not _is_matrix(saved, type_num, m, n)):
        return None
    dx = _gradient(dx, 2, cnp.PyArray_DIMS(xa), type_num, (dy, x, w, saved))
    if dx is NotImplemented:
        return None
    dw = _gradient(dw, 2, cnp.PyArray_DIMS(wa), type_num, (dy, x, w, saved, dx))
    if dw is NotImplemented:
        return None
    db = _gradient(db, 1, &n, type_num, (dy, x, w, saved, dx, dw))
    return None if db is NotImplemented else (dx, dw, db)


def updatable(grads, tuple numbers, tuple written, Py_ssize_t required):
    """Copies of the lists, grads and those in `written`, if an optimizer's kernel may take them as they are; else None. Copies,
    because another thread may change those that were given."""
    cdef list lists = [grads[:] if type(grads) is list else None]
    for arrays in written:
        lists.append(arrays[:] if type(arrays) is list else arrays)
    cdef list first = lists[0]
    return lists if first is not None and _updatable(first, numbers, tuple(lists[1:]), required) else None


cdef bint _updatable(list grads, tuple numbers, tuple written, Py_ssize_t required) except -1:
    """May an optimizer's kernel take these as they are? Lists of plain arrays, those of one parameter of one shape and without
    a byte in common. written: params, then each kind of state; None after the first `required`: that kind is not kept."""
    cdef Py_ssize_t i, kind, other, places, bytes, count
    cdef char *place[8]
    if len(written) >= 8:
        return False
    for number in numbers:
        if type(number) is not float and type(number) is not int:
            return False
    count = len(grads)
    for kind in range(len(written)):
        if type(written[kind]) is list:
            if len(<list>written[kind]) != count:
                return False
        elif written[kind] is not None or kind < required:
            return False
    for i in range(count):
        grad = grads[i]
        if not (_is_plain(grad, _float_type(grads[0])) and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>grad)):
            return False
        bytes = cnp.PyArray_NBYTES(<cnp.ndarray>grad)
        place[0], places = <char *>cnp.PyArray_DATA(<cnp.ndarray>grad), 1
        for arrays in written:
            if arrays is None:
                continue
            a = (<list>arrays)[i]
            if not (_is_target(a, cnp.PyArray_TYPE(<cnp.ndarray>grad)) and _same_shape(a, grad)):
                return False
            place[places] = <char *>cnp.PyArray_DATA(<cnp.ndarray>a)
            for other in range(places):
                if place[other] < place[places] + bytes and place[places] < place[other] + bytes:
                    return False
            places += 1
    return True


cdef class Entries:
    """What stands in some dictionaries. dictionaries: (a dict, the keys that are not looked at), each."""

    cdef list dictionaries, sizes, keys, values
    cdef bytearray versions  # a number for each dictionary

    def __init__(self, list dictionaries):
        self.dictionaries = [d for d, _ in dictionaries]
        for d in self.dictionaries:
            if not isinstance(d, dict):
                raise TypeError(f"expected a dict, got {type(d).__name__}")
        self.sizes = [len(d) for d in self.dictionaries]
        self.keys = [[key for key in d if key not in passed] for d, passed in dictionaries]
        self.values = [[d[key] for key in keys] for d, keys in zip(self.dictionaries, self.keys)]
        self.versions = bytearray(len(self.dictionaries) * sizeof(uint64_t))

    cpdef bint hold(self) except -1:
        """Does each dictionary still have as many entries, and at the keys these very values?"""
        cdef Py_ssize_t i
        cdef uint64_t version
        cdef uint64_t *seen = <uint64_t *><char *>self.versions
        for i in range(len(self.dictionaries)):
            version = dict_version(self.dictionaries[i])
            if version == 0 or version != seen[i]:
                if not self._holds(i):
                    return False
                seen[i] = version
        return True

    cdef bint _holds(self, Py_ssize_t i) except -1:
        d = self.dictionaries[i]  # or of a class of its own, such as a defaultdict
        cdef list keys = self.keys[i], values = self.values[i]
        cdef Py_ssize_t k
        if len(d) != <Py_ssize_t>self.sizes[i]:
            return False
        for k in range(len(keys)):
            if PyDict_GetItemWithError(d, keys[k]) != <PyObject *>values[k]:
                return False
        return True
