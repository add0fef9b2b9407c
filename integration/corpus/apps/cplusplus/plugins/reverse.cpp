#include "plugin.h"
#include <algorithm>

extern "C" const char *transform(const char *text) {
    static std::string out;
    out = text;
    std::reverse(out.begin(), out.end());
    return out.c_str();
}
