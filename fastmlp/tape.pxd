"""The types of tape.py, for the compiler."""

cimport cython
from numpy cimport ndarray
from .gradients cimport Operation


cdef class Memory:
    cdef public long version
    cdef public bint exposed
    cdef public list views


cdef class TensorBase:
    cdef public object _data
    cdef public Memory _memory
    cdef public Node _node
    cdef public object _job
    cdef public bint _requires_grad
    cdef public bint _is_view
    cdef public object _grad
    cdef dict __dict__
    cdef object __weakref__


cdef class Node:
    cdef public str name
    cdef public object gradient
    cdef public list edges
    cdef public list saved
    cdef public tuple kept
    cdef public object retains
    cdef public object order

    @cython.locals(memory=Memory, version=long)
    cpdef tuple run(self, dy, bint retain_graph)


cpdef make(TensorBase t, data, Memory memory)
cpdef TensorBase wrap(a)
cpdef array_of(t)
cdef _computed(TensorBase t)
cpdef settle()

cpdef TensorBase recorded(str name, TensorBase y, tuple operands, gradient, tuple reads=*, tuple kept=*)
cpdef edge(TensorBase t)
cpdef tuple seen(TensorBase t)
@cython.locals(node=Node)
cpdef leave_node(TensorBase y, str name, gradient, list edges, list saved, tuple kept=*)
@cython.locals(arrays=list, among=bint, record=bint, t=TensorBase, y=TensorBase)
cpdef TensorBase apply(Operation operation, tuple operands)
@cython.locals(views=list, n=Py_ssize_t)
cdef _note_view(TensorBase y)
@cython.locals(edges=list, saved=list, i=Py_ssize_t, j=Py_ssize_t, reads=tuple)
cdef _record(Operation operation, TensorBase y, tuple operands, gradient)

@cython.locals(node=Node, edges=list, i=Py_ssize_t)
cpdef walk(Node root, dy, bint retain_graph)

cpdef changed(tensors)
@cython.locals(t=TensorBase)
cpdef clear_gradients(tensors, bint set_to_none)
