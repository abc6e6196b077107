#include "replica/pace.h"

#include <assert.h>

void pace_begin(struct pace *p)
{
    *p = (struct pace){
        .window = PACE_MIN, .least_ms = UINT64_MAX, .lost_ms = PACE_LOST_MS};
}

bool pace_room(const struct pace *p)
{
    return p->sent - p->acked < p->window;
}

void pace_sent(struct pace *p, uint64_t bytes, uint64_t now_ms)
{
    if (p->sent == p->acked)
        p->progress_ms = now_ms;
    p->sent += bytes;
    if (p->measuring && (p->full || pace_room(p)))
        return;
    p->measuring = true;
    p->full = !pace_room(p);
    p->mark = p->sent;
    p->mark_ms = now_ms;
}

static void measured(struct pace *p, uint64_t took_ms)
{
    bool late = p->least_ms != UINT64_MAX && took_ms > p->least_ms + PACE_SLACK_MS;

    if (late) {
        p->window -= p->window / 4;
        p->near = true;
    } else if (p->full) {
        p->window += p->near ? p->window / 8 : p->window;
    }
    if (p->window < PACE_MIN)
        p->window = PACE_MIN;
    if (p->window > PACE_MAX)
        p->window = PACE_MAX;
    if (took_ms < p->least_ms)
        p->least_ms = took_ms;
    p->lost_ms = 4 * took_ms;
    if (p->lost_ms < PACE_LOST_MS)
        p->lost_ms = PACE_LOST_MS;
    if (p->lost_ms > PACE_LOST_MAX_MS)
        p->lost_ms = PACE_LOST_MAX_MS;
    p->measuring = false;
}

void pace_acked(struct pace *p, uint64_t bytes, uint64_t now_ms)
{
    assert(bytes <= p->sent - p->acked);
    p->acked += bytes;
    p->progress_ms = now_ms;
    if (p->measuring && p->acked >= p->mark)
        measured(p, now_ms - p->mark_ms);
}

bool pace_lost(const struct pace *p, uint64_t now_ms)
{
    return p->sent > p->acked && now_ms - p->progress_ms >= p->lost_ms;
}

void pace_slow(struct pace *p)
{
    p->window /= 2;
    if (p->window < PACE_MIN)
        p->window = PACE_MIN;
    p->near = false;
    p->lost_ms += p->lost_ms / 2;
    if (p->lost_ms > PACE_LOST_MAX_MS)
        p->lost_ms = PACE_LOST_MAX_MS;
}

void pace_forget(struct pace *p)
{
    p->acked = p->sent;
    p->measuring = false;
}
