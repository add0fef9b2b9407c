#pragma once
#include <string>

// Every plugin exports this function.
extern "C" const char *transform(const char *text);
