#include "common/log.h"

int log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *suppressed)
{
    if (limit->last_ms != 0 && now_ms - limit->last_ms < 1000) {
        limit->suppressed++;
        return 0;
    }
    limit->last_ms = now_ms;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return 1;
}
