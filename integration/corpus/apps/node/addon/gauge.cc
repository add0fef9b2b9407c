// A native addon: the Adler-32 checksum of a string.
#include <node_api.h>

#include <string>

static napi_value Sum(napi_env env, napi_callback_info info) {
	size_t argc = 1;
	napi_value arg, result;
	napi_get_cb_info(env, info, &argc, &arg, nullptr, nullptr);
	size_t length = 0;
	napi_get_value_string_utf8(env, arg, nullptr, 0, &length);
	std::string text(length + 1, '\0');
	napi_get_value_string_utf8(env, arg, &text[0], length + 1, &length);
	uint32_t a = 1, b = 0;
	for (size_t i = 0; i < length; i++) {
		a = (a + static_cast<unsigned char>(text[i])) % 65521;
		b = (b + a) % 65521;
	}
	napi_create_uint32(env, b << 16 | a, &result);
	return result;
}

NAPI_MODULE_INIT() {
	napi_value sum;
	napi_create_function(env, "sum", NAPI_AUTO_LENGTH, Sum, nullptr, &sum);
	napi_set_named_property(env, exports, "sum", sum);
	return exports;
}
