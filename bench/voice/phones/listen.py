"""How recorded speech was heard: PESQ (ITU-T P.862, narrow band) of each time that a phrase occurs in a recording.

Takes two files of 8 kHz, mono, 16 bits: the phrase, and what a phone heard of the phrase said again and again. Writes JSON: for each
time its place in the recording in seconds, and the score. A phrase of which hardly anything was heard has the worst one, 1.
"""

import json
import sys
import wave

import numpy
from pesq import PesqError, pesq

RATE = 8000
# The phrase is heard at most so much later than it would be by its place, in seconds.
SLACK = 1.5


def read(name):
    with wave.open(name) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), dtype=numpy.int16)


def correlation(phrase, heard):
    """Of the phrase with each place of what was heard."""
    size = len(phrase) + len(heard)
    spectrum = numpy.fft.rfft(heard, size) * numpy.conj(numpy.fft.rfft(phrase, size))
    return numpy.fft.irfft(spectrum, size)[: max(1, len(heard) - len(phrase) + 1)]


def score(phrase, heard):
    value = pesq(RATE, phrase, heard, "nb", on_error=PesqError.RETURN_VALUES)
    return max(1.0, float(value))


def main():
    phrase, heard, period = read(sys.argv[1]), read(sys.argv[2]), float(sys.argv[3])
    found = []
    if len(heard) > len(phrase):
        everywhere = correlation(phrase.astype(float), heard.astype(float))
        place = int(numpy.argmax(everywhere[: int(2 * period * RATE)]))
        while place + len(phrase) <= len(heard):
            found.append([place / RATE, score(phrase, heard[place : place + len(phrase)])])
            # The next one is about a period later: lost packets may have made it shorter.
            begin = place + int((period - SLACK) * RATE)
            nearby = everywhere[begin : begin + int(2 * SLACK * RATE)]
            if len(nearby) == 0:
                break
            place = begin + int(numpy.argmax(nearby))
    print(json.dumps(found))


main()
