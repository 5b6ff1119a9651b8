"""draft"""

import numpy as np, torch
from collections.abc import Mapping, Sequence
from torch import Tensor, nn
from benchmarks.part_samples import Components, Rows
from semantic_focus.segmenters.embedded.classifier import PARTS, PLACE, DEEP
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    networks: int = 2
    hidden: int = 32
    epochs: float = 6
    batch: int = 4096
    rate: float = 4e-3
    decay: float = 1e-2
    noise: float = 0.5
    dropout: float = 0.1
    input_dropout: float = 0.3
    missing: float = 0.1
    smoothing: float = 0.02
    skip: tuple = ()
    alone: float = 0.1


CLASS_WEIGHT = (1.0, 1.3, 1.0, 1.3)


def table(pictures, skip=()):
    X, y, w = [], [], []
    for rows in pictures:
        rows = [r for r in rows if not r.version.startswith(tuple(skip))] if skip else rows
        if not rows:
            continue
        n = sum(len(r.parts) for r in rows)
        persons = len({r.person for r in rows})
        for r in rows:
            X.append(np.concatenate([r.place, *(r.squares[q].astype(np.float16) for q in DEEP)], 1))
            y.append(r.parts)
            w.append(np.full(len(r.parts), persons**0.5 / n, np.float32))
    w = np.concatenate(w)
    return (
        torch.from_numpy(np.concatenate(X)),
        torch.from_numpy(np.concatenate(y).astype(np.int64)),
        torch.from_numpy(w / w.mean()),
    )


def spans(rows: Rows):
    at, r = 0, {}
    for name, n in [(PLACE, rows.place.shape[1]), *((q, rows.squares[q].shape[1]) for q in DEEP)]:
        r[name] = (at, at + n)
        at += n
    return r


def fit(pictures, basis: Components, S: Settings = Settings()):
    X, y, w = table(pictures, S.skip)
    sp = spans(next(r for rows in pictures for r in rows))
    m = torch.zeros(X.shape[1])
    f = X[:: max(1, len(X) // 60000)].float()
    a, b = sp[PLACE]
    m[a:b] = f[:, a:b].mean(0)
    s = ((f - m) ** 2).mean(0).sqrt() + 0.05
    for q in DEEP:
        s[sp[q][1] - 1] = 1
    X = ((X - m.half()) / s.half()).half() if False else X
    nets = [_one(X, y, w, m, s, sp, S, seed) for seed in range(S.networks)]
    return fold(nets, m, s, sp, basis)


def _one(X, y, w, m, s, sp, S, seed):
    torch.manual_seed(seed)
    F = X.shape[1]
    net = nn.Sequential(
        nn.Linear(F, S.hidden),
        nn.ReLU(),
        nn.Dropout(S.dropout),
        nn.Linear(S.hidden, S.hidden),
        nn.ReLU(),
        nn.Dropout(S.dropout),
        nn.Linear(S.hidden, len(PARTS)),
    )
    opt = torch.optim.AdamW(net.parameters(), weight_decay=S.decay)
    steps = int(S.epochs * len(X) // S.batch)
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, S.rate, total_steps=steps)
    crit = nn.CrossEntropyLoss(torch.tensor(CLASS_WEIGHT), reduction="none", label_smoothing=S.smoothing)
    noise = S.noise * torch.randn(3 * S.batch, F)
    keep = (torch.rand(3 * S.batch, F) > S.input_dropout).float() / (1 - S.input_dropout)
    for _ in range(steps):
        i = torch.randint(0, len(X), (S.batch,))
        k, l = torch.randint(0, 2 * S.batch, (2,))
        x = (X[i].float() - m) / s
        x = (x + noise[k : k + S.batch].roll(int(k) % F, 1)) * keep[l : l + S.batch].roll(int(l) % F, 1)
        n = S.batch
        # whole alone, as for people whose face is not seen; then single sources missing
        u = torch.rand(n)
        for q in (PLACE, "head", "face"):
            a, b = sp[q]
            gone = u < S.alone
            if q in ("head", "face"):
                gone = gone | ((u > 0.3) & (u < 0.3 + S.missing))
            else:
                gone = gone | ((u > 0.5) & (u < 0.5 + S.missing))
            x[:, a:b] *= (~gone)[:, None]
        a, b = sp["whole"]
        x[:, a:b] *= (~((u > 0.3) & (u < 0.3 + S.missing)))[:, None]
        loss = (crit(net(x), y[i]) * w[i]).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        sch.step()
    return net.eval()


def fold(nets, m, s, sp, basis):
    L = [[k for k in n if isinstance(k, nn.Linear)] for n in nets]
    first = torch.cat([l[0].weight.detach().T for l in L], 1) / s[:, None]
    out = {"bias_1": torch.cat([l[0].bias.detach() for l in L])}
    a, b = sp[PLACE]
    out["place"] = first[a:b]
    out["place/bias"] = -(m[a:b] @ first[a:b])
    for q in DEEP:
        a, b = sp[q]
        at = a
        bias = torch.zeros(first.shape[1])
        for key, w in basis[q].items():
            k = w.shape[1]
            out[f"{q}/{key}"] = w[:-1] @ first[at : at + k]
            bias += w[-1] @ first[at : at + k]
            at += k
        out[f"{q}/bias"] = bias
        out[f"{q}/near"] = first[at]
        assert at + 1 == b
    for i in (1, 2):
        out[f"weight_{i + 1}"] = torch.stack([l[i].weight.detach().T for l in L]).contiguous()
        out[f"bias_{i + 1}"] = torch.stack([l[i].bias.detach() for l in L])
    return out
