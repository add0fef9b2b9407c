/* A C extension: the checksum of a buffer, as Adler-32 has it. */
#include <Python.h>

static PyObject *sum(PyObject *self, PyObject *args) {
	Py_buffer data;
	if (!PyArg_ParseTuple(args, "y*", &data))
		return NULL;
	unsigned long a = 1, b = 0;
	for (Py_ssize_t i = 0; i < data.len; i++) {
		a = (a + ((unsigned char *)data.buf)[i]) % 65521;
		b = (b + a) % 65521;
	}
	PyBuffer_Release(&data);
	return PyLong_FromUnsignedLong(b << 16 | a);
}

static PyMethodDef methods[] = {{"sum", sum, METH_VARARGS, "Adler-32 of a buffer."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "gauge", NULL, -1, methods};

PyMODINIT_FUNC PyInit_gauge(void) { return PyModule_Create(&module); }
