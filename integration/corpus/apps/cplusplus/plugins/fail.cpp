#include "plugin.h"
#include <stdexcept>

extern "C" const char *transform(const char *text) {
    throw std::runtime_error(std::string("plugin refuses ") + text);
}
