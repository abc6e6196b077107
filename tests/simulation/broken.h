/* tests/simulation/broken.h: where a checker says that a promise was broken. */
#ifndef SIMULATION_BROKEN_H
#define SIMULATION_BROKEN_H

/* Ends the history: tells what broke, and never returns. A failed assertion of the node's
 * ends here, too. */
_Noreturn void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
