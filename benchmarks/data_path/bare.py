"""The limit: decoding the wanted frames and doing nothing else."""

from bisect import bisect_right

import av

from data_path.jobs import Job


def bare_decode(job: Job) -> None:
    """Decode the frames of a job with one thread, from the key frame at or before the first one, and drop them.

    Frames that are neither wanted nor needed for others are skipped by the decoder, and no packet behind the last
    wanted one is sent to it. Nothing is converted, cropped or scaled. Time stamps and key frames are known beforehand.

    Raises:
        RuntimeError: not all of them came out.
    """
    wanted = {job.video.pts[index] for index in job.indices}
    key = job.video.keys[bisect_right(job.video.keys, min(wanted)) - 1]
    unsent, found = len(wanted), 0
    with av.open(job.video.path) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_count = 1
        container.seek(key, stream=stream)
        for packet in container.demux(stream):
            want = packet.pts in wanted
            codec.skip_frame = "DEFAULT" if want else "NONREF"
            found += sum(frame.pts in wanted for frame in packet.decode())
            unsent -= want
            if not unsent:
                found += sum(frame.pts in wanted for frame in codec.decode(None))  # held back to put B-frames in order
                break
    if found != len(wanted):
        raise RuntimeError(f"{found} of {len(wanted)} frames of {job.video.path}")
