#include "plugin.h"
#include <cstring>
#include <zlib.h>

extern "C" const char *transform(const char *text) {
    static std::string out;
    out = std::to_string(crc32(0, reinterpret_cast<const Bytef *>(text), std::strlen(text)));
    return out.c_str();
}
