// The Python module of the kernels: their handlers by name, for processors that can run them.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "xla/ffi/api/ffi.h"

#define NAME_OF(level) NAME_JOINED(level)
#define NAME_JOINED(level) PyInit__kernels_##level
#define TEXT_OF(level) TEXT_JOINED(level)
#define TEXT_JOINED(level) "_kernels_" #level

// Every kernel: a line here, and its file.
#define KERNELS(K) K(Convolutions) K(Perceptron) K(Flips)

#define DECLARED(name) extern "C" XLA_FFI_Error* name(XLA_FFI_CallFrame*);
KERNELS(DECLARED)

static PyObject* handlers(PyObject*, PyObject*) {
  PyObject* all = PyDict_New();
#define ADDED(name)                                                                    \
  {                                                                                    \
    PyObject* one = PyCapsule_New(reinterpret_cast<void*>(name), "xla._CUSTOM_CALL_TARGET", nullptr);   \
    PyDict_SetItemString(all, #name, one);                                             \
    Py_XDECREF(one);                                                                   \
  }
  KERNELS(ADDED)
  return all;
}

static bool runs_here() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

static PyMethodDef methods[] = {
    {"handlers", handlers, METH_NOARGS, "The handlers by name."}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, TEXT_OF(LEVEL), nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC NAME_OF(LEVEL)() {
  if (!runs_here()) {
    PyErr_SetString(PyExc_ImportError, "this processor lacks instructions that it is compiled for");
    return nullptr;
  }
  return PyModule_Create(&definition);
}
